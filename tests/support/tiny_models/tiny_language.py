"""Tiny random language models with words of their own, as `transformers` saves them."""

from pathlib import Path
from typing import Any

import torch

from capfilt.demo.world.web import web_rows


def write_language(folder: Path, kind: str, positions: int = 64) -> None:
    """Shaped like OPT or Llama (one row), or like T5 (encoder and decoder)."""
    import transformers
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers

    words = ["<pad>", "</s>", "<unk>", *sorted({w for _, row in web_rows(100, seed=0) for w in row.text.split()})]
    backend = Backend(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    library: Any = transformers
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    library.PreTrainedTokenizerFast(tokenizer_object=backend, **marks).save_pretrained(folder)
    ends = {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1, "vocab_size": len(words)}
    torch.manual_seed(1)
    if kind == "opt":
        shape = {"hidden_size": 24, "num_hidden_layers": 2, "ffn_dim": 48, "num_attention_heads": 2}
        more = {"word_embed_proj_dim": 24, "max_position_embeddings": 64, "init_std": 0.2}
        model = library.OPTForCausalLM(library.OPTConfig(**shape, **more, **ends))
    elif kind == "llama":
        shape = {"hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 48, "num_attention_heads": 2}
        config = library.LlamaConfig(**shape, **ends, max_position_embeddings=positions, initializer_range=0.2)
        model = library.LlamaForCausalLM(config)
    else:
        shape = {"d_model": 24, "d_kv": 12, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2}
        config = library.T5Config(**shape, **ends, decoder_start_token_id=0, feed_forward_proj="gated-gelu")
        model = library.T5ForConditionalGeneration(config)
    model.save_pretrained(folder)

"""A tiny MED, a tiny Q-Former, and tiny language models of both shapes with a tokenizer of their own."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from capfilt.demo.world.dataset import write_pairs
from capfilt.demo.world.web import web_rows
from capfilt.models.med.config import SIZES
from capfilt.models.med.model import MED
from capfilt.models.qformer.config import QFormerConfig
from capfilt.models.tokenizer import Tokenizer


@pytest.fixture(scope="session")
def shape() -> QFormerConfig:
    return QFormerConfig(
        queries=4, width=32, layers=3, heads=4, ffn=48, vision_width=24, vocab_size=80, max_positions=40, projection=16
    )


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    write_pairs(path, 40, seed=3)
    return path


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_words((row.text for _, row in web_rows(100, seed=0)), min_count=1)


@pytest.fixture
def med(tokenizer: Tokenizer) -> MED:
    torch.manual_seed(0)
    small = {"vision_width": 32, "vision_layers": 1, "text_width": 32, "text_layers": 2, "text_ffn": 64}
    return MED(replace(SIZES["med-tiny"], image_size=16, projection=16, vocab_size=len(tokenizer), **small))


@pytest.fixture(scope="session", params=["opt", "t5"])
def language(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory as `transformers` saves it: OPT-shaped (one row) or T5-shaped (encoder and decoder)."""
    folder = tmp_path_factory.mktemp("language") / str(request.param)
    write_language(folder, str(request.param))
    return folder


def write_language(folder: Path, kind: str) -> None:
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
    else:
        shape = {"d_model": 24, "d_kv": 12, "d_ff": 48, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2}
        config = library.T5Config(**shape, **ends, decoder_start_token_id=0, feed_forward_proj="gated-gelu")
        model = library.T5ForConditionalGeneration(config)
    model.save_pretrained(folder)

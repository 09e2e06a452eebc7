"""A frozen language model behind a soft prompt: any causal or sequence-to-sequence model of `transformers`.

A causal model (OPT-shaped) reads queries, prompt and caption in one row. A sequence-to-sequence model (T5-shaped) reads
queries and prompt in its encoder and writes the caption in its decoder (BLIP-2, section 3.3).

Dimensions: B captions, Q queries, P prompt tokens, T caption tokens, L width, V vocabulary.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from capfilt.models.formats.guarded import load_model, load_part
from capfilt.models.qformer.bridge import Frozen

IGNORED = -100
"""The label of what is not learned, to `transformers` and torch alike."""


class LanguageModel:
    """A language model with its words.

    Args:
        model: a causal or sequence-to-sequence model of `transformers`.
        words: its tokenizer.
        begins: a causal model reads what its tokenizer puts before a text (</s> of OPT, <s> of Llama), between queries
            and prompt, as in LAVIS's code. Captions end with the model's own end of text; LAVIS has a line feed there.
    """

    def __init__(self, model: Any, words: Any, begins: bool = False) -> None:
        self.frozen = Frozen(model)
        self.tokenizer = words
        self.encoder_decoder = bool(model.config.is_encoder_decoder)
        self.begin = begin_of_text(words) if begins and not self.encoder_decoder else []
        self.width = int(model.get_input_embeddings().embedding_dim)
        ends = words.eos_token_id if words.eos_token_id is not None else model.config.eos_token_id
        self.stop = int(ends[0] if isinstance(ends, list) else ends)
        own = model.generation_config
        # What a model's own settings say of penalties and temperatures is set aside; the recipe decides.
        library: Any = transformers
        model.generation_config = library.GenerationConfig(
            bos_token_id=own.bos_token_id,
            decoder_start_token_id=own.decoder_start_token_id,
            eos_token_id=self.stop,
            pad_token_id=self.stop if own.pad_token_id is None else own.pad_token_id,
        )

    @classmethod
    def load(
        cls, folder: Path, device: str = "cpu", dtype: torch.dtype = torch.float32, begins: bool = False
    ) -> "LanguageModel":
        """Read a directory that `transformers` saved; safetensors only, none of its code.

        Raises:
            ModelError: it cannot be read.
        """
        encoder_decoder = load_part("AutoConfig", folder).is_encoder_decoder
        kind = "AutoModelForSeq2SeqLM" if encoder_decoder else "AutoModelForCausalLM"
        return cls(load_model(kind, folder, device, dtype), load_part("AutoTokenizer", folder), begins)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.frozen.module.device
        return device

    def lm_logits(
        self, soft: Tensor, prompt: str, captions: Sequence[str], most: int, prefixes: Sequence[str] = ()
    ) -> tuple[Tensor, Tensor]:
        """Logits [B, T, V] of the caption tokens that follow a soft prompt [B, Q, L], and those tokens [B, T].

        A caption ends with the model's own end of text; `IGNORED` stands where a shorter one has no token.

        Args:
            most: tokens of a caption, the end among them.
            prefixes: what the encoder of a sequence-to-sequence model reads of each caption, behind the prompt.
        """
        given = self.begin + self._ids(prompt)
        rows = [self._caption(caption, most) for caption in captions]
        length = max(map(len, rows))
        labels = torch.tensor([row + [IGNORED] * (length - len(row)) for row in rows], device=soft.device)
        if self.encoder_decoder:
            read = [given + self._ids(prefix)[:most] for prefix in prefixes or [""] * len(rows)]
            width = max(map(len, read))
            ids = torch.tensor([own + [self.stop] * (width - len(own)) for own in read], dtype=torch.int64)
            told = torch.tensor([[True] * len(own) + [False] * (width - len(own)) for own in read])
            inputs, mask = self._row(soft, ids.view(len(read), width), told.view(len(read), width))
            # Of the labels the model makes what its decoder reads, shifted by one.
            logits = self.frozen.module(inputs_embeds=inputs, attention_mask=mask, labels=labels).logits
            return logits.float(), labels
        # The end of text stands in for padding, which not every tokenizer has; the mask hides it.
        fed = torch.tensor([given + row[:-1] + [self.stop] * (length - len(row)) for row in rows])
        written = torch.tensor([[True] * (len(given) + len(row) - 1) + [False] * (length - len(row)) for row in rows])
        inputs, mask = self._row(soft, fed, written)
        logits = self.frozen.module(inputs_embeds=inputs, attention_mask=mask).logits[:, -length:]
        return logits.float(), labels

    def generate(self, soft: Tensor, prompt: str, most: int, chooser: LogitsProcessor) -> None:
        """Have captions written behind soft prompts [B, Q, L]; `chooser` draws the tokens and keeps them."""
        given = torch.tensor([self.begin + self._ids(prompt)] * len(soft), dtype=torch.int64)
        inputs, mask = self._row(soft, given, None)
        self.frozen.module.generate(
            inputs_embeds=inputs,
            attention_mask=mask,
            do_sample=True,
            max_new_tokens=most,
            logits_processor=LogitsProcessorList([chooser]),
        )

    def _row(self, soft: Tensor, ids: Tensor, written: Tensor | None) -> tuple[Tensor, Tensor]:
        """Soft prompt and words as embeddings, and where they are."""
        model = self.frozen.module
        words = model.get_input_embeddings()(ids.to(soft.device))
        inputs = torch.cat((soft.to(words.dtype), words), dim=1)
        mask = torch.ones(inputs.shape[:2], dtype=torch.int64, device=soft.device)
        if written is not None:
            mask[:, soft.shape[1] :] = written
        return inputs, mask

    def length(self, caption: str, most: int) -> int:
        """Tokens of a caption, the end among them."""
        return len(self._caption(caption, most))

    def _caption(self, caption: str, most: int) -> list[int]:
        return [*self._ids(caption)[: most - 1], self.stop]

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []


def begin_of_text(words: Any) -> list[int]:
    """What a tokenizer of `transformers` puts before a text, such as <s>; nothing of many."""
    whole, plain = (list(words("a", add_special_tokens=special)["input_ids"]) for special in (True, False))
    places = range(len(whole) - len(plain) + 1)
    return whole[: next((place for place in places if whole[place : place + len(plain)] == plain), 0)]

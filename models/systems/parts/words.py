"""A vocabulary of the data's own words, as a tokenizer that `transformers` saves and loads."""

from collections.abc import Iterable
from typing import Any, Final

from capfilt.models.tokenizer import CLS, MASK, PAD, SEP, UNK, Tokenizer

MARKS: Final = {
    "pad_token": PAD,
    "unk_token": UNK,
    "cls_token": CLS,
    "sep_token": SEP,
    "mask_token": MASK,
    "bos_token": CLS,
    "eos_token": SEP,
}


def own_words(texts: Iterable[str], max_tokens: int) -> Any:
    """Word pieces of the words of `texts`: [CLS] (id 2), pieces, [SEP] (id 3), at most `max_tokens` of them.

    An end with the id 2 would be a trap: `CLIPModel` takes that number as a sign of old checkpoints, and then pools at
    the largest id of a text instead of at its end.
    """
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer.from_words(texts)
    marks = [(mark, words.ids[mark]) for mark in (CLS, SEP)]
    backend: Any = words.backend
    backend.post_processor = TemplateProcessing(single=f"{CLS} $A {SEP}", special_tokens=marks)
    make: Any = PreTrainedTokenizerFast
    return make(tokenizer_object=backend, model_max_length=max_tokens, **MARKS)


def ended(words: Any, text: str, most: int) -> list[int]:
    """A text and its end as ids, so many at most, without what a tokenizer of `transformers` puts around it."""
    return [*words(text, add_special_tokens=False)["input_ids"][: most - 1], words.eos_token_id]

"""The tiny MED of `tests/support/tiny_models/tiny_med.py`, two layers deep and not in training."""

from dataclasses import replace

import pytest

from capfilt.models.med.config import SIZES
from capfilt.models.med.model import MED
from capfilt.models.tokenizer import Tokenizer
from tiny_med import images, make_strong, tokenizer

__all__ = ["images", "tokenizer"]


@pytest.fixture(scope="session")
def med(tokenizer: Tokenizer) -> MED:
    shape = replace(SIZES["med-tiny"], image_size=16, vision_layers=2, text_layers=2, vocab_size=len(tokenizer))
    return make_strong(shape).eval()

"""A tiny random MED with a tokenizer; big enough weights that images and texts make a difference."""

from dataclasses import replace

import pytest
import torch

from capfilt.models.med.config import SIZES
from capfilt.models.med.model import MED
from capfilt.models.tokenizer import Tokenizer

WORDS = ["a red circle on a white ground", "two blue squares", "the cat sat on a mat", "one green star above"]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_words(WORDS, min_count=1)


@pytest.fixture(scope="session")
def med(tokenizer: Tokenizer) -> MED:
    torch.manual_seed(0)
    shape = replace(SIZES["med-tiny"], image_size=16, vision_layers=2, text_layers=2, vocab_size=len(tokenizer))
    model = MED(shape).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return model


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (16, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))

"""A tiny random MED, and annotated pictures of the demo's world to train it on."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from capfilt.demo.world.dataset import write_pairs
from capfilt.models.med.config import SIZES, MEDConfig
from capfilt.models.med.model import MED
from capfilt.models.tokenizer import Tokenizer

WORDS = ["a red circle on a white ground", "two blue squares", "the cat sat on a mat", "one green star above"]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_words(WORDS, min_count=1)


@pytest.fixture(scope="session")
def shape(tokenizer: Tokenizer) -> MEDConfig:
    return replace(
        SIZES["med-tiny"],
        image_size=16,
        vision_width=32,
        vision_layers=1,
        text_width=32,
        text_layers=1,
        text_ffn=64,
        projection=16,
        vocab_size=len(tokenizer),
    )


@pytest.fixture
def med(shape: MEDConfig) -> MED:
    """Big enough weights that pictures and texts make a difference."""
    return make_strong(shape)


@pytest.fixture(scope="module")
def strong(shape: MEDConfig) -> MED:
    """The same, for what a module shares."""
    return make_strong(shape)


def make_strong(shape: MEDConfig) -> MED:
    torch.manual_seed(0)
    model = MED(shape)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3)
    return model


@pytest.fixture(scope="session")
def images() -> torch.Tensor:
    return torch.randint(0, 256, (16, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures with 3 human, 2 web and 4 wrong texts each."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    write_pairs(path, 40, seed=3)
    return path

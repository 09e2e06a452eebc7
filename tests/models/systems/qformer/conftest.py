"""A tiny MED and tiny language models of both shapes with a tokenizer of their own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from capfilt.demo.world.web import web_rows
from capfilt.models.med.config import SIZES
from capfilt.models.med.model import MED
from capfilt.models.tokenizer import Tokenizer
from tiny_language import write_language


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

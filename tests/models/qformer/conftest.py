"""A tiny Q-Former's shape."""

import pytest

from capfilt.models.qformer.config import QFormerConfig


@pytest.fixture(scope="session")
def shape() -> QFormerConfig:
    return QFormerConfig(
        queries=4, width=32, layers=3, heads=4, ffn=48, vision_width=24, vocab_size=80, max_positions=40, projection=16
    )

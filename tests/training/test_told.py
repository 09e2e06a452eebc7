"""What a training says of its data before it starts."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.errors import InputError
from capfilt.models.pixels import PixelSpec
from capfilt.models.systems.registry import SYSTEMS
from capfilt.pipelines.training_data.pairs import TrainingPairs
from capfilt.training.data import human_alone, load_data
from capfilt.training.recipes import load_training
from pictures import picture

SYSTEM = SYSTEMS["filter"]


def pairs(path: Path, source: str, texts: list[str], *settings: str) -> TrainingPairs:
    rows = [{"image": picture(1, 16), "captions": [{"text": text, "source": source}]} for text in texts]
    pq.write_table(pa.Table.from_pylist(rows), path / "pairs.parquet")
    recipe = load_training("small", "filter", ("schedule.batch=2", *settings))
    return load_data(SYSTEM, (str(path / "pairs.parquet"),), recipe, PixelSpec(16))


def test_a_filter_learns_from_human_texts_or_says_that_it_does_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no text of source human \(data.sources\)"):
        pairs(tmp_path, "web", ["a dog", "a cat"])
    web = pairs(tmp_path, "web", ["a dog", "a cat"], 'data.sources=["web"]')
    assert [line.split(":")[0] for line in human_alone(SYSTEM, web)] == ["warning"]
    assert human_alone(SYSTEMS["med"], web) == []
    assert human_alone(SYSTEM, pairs(tmp_path, "human", ["a dog", "a cat"])) == []

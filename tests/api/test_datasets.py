"""The kept pairs as the data sets of other libraries: every image once, streamed."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

import capfilt


@pytest.fixture(scope="module")
def corpus(made: capfilt.Run) -> dict[str, dict[str, Any]]:
    """The rows of corpus/ by uid."""
    rows = pq.read_table(Path(made.out) / "corpus").to_pylist()
    return {row["uid"]: row for row in rows}


def test_as_torch_reads_them(made: capfilt.Run, corpus: dict[str, dict[str, Any]]) -> None:
    import torch

    rows = list(made.to_torch())
    assert [row["uid"] for row in rows] == list(corpus)
    for row in rows:
        assert row["text"] == corpus[row["uid"]]["text"]
        assert row["captions"] == corpus[row["uid"]]["captions"]
        assert row["image"].dtype == torch.uint8
        assert row["image"].shape == (3, row["height"], row["width"])


@pytest.mark.slow
def test_workers_of_a_loader_share_them(made: capfilt.Run, corpus: dict[str, dict[str, Any]]) -> None:
    from torch.utils.data import DataLoader

    data = made.to_torch(transform=Image.Image.getbands)  # of a module that workers can import
    loader = DataLoader(data, batch_size=None, num_workers=2, multiprocessing_context="spawn")
    rows = list(loader)
    assert Counter(row["uid"] for row in rows) == Counter(corpus.keys())
    assert {tuple(row["image"]) for row in rows} == {("R", "G", "B")}


def test_as_hugging_face_reads_them(made: capfilt.Run, corpus: dict[str, dict[str, Any]]) -> None:
    data = made.to_hf()
    assert data.num_shards == 3
    rows = list(data)
    assert {row["uid"]: row["text"] for row in rows} == {uid: row["text"] for uid, row in corpus.items()}
    assert rows[0]["image"].size == (64, 64)
    assert rows[0]["captions"][0].keys() >= {"text", "source", "itm", "itc"}


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_as_ray_reads_them(made: capfilt.Run, corpus: dict[str, dict[str, Any]]) -> None:
    rows = made.to_ray().take_all()
    assert {row["uid"]: row["text"] for row in rows} == {uid: row["text"] for uid, row in corpus.items()}
    assert len(rows) == len(corpus)
    first = corpus[rows[0]["uid"]]
    assert rows[0]["image"]["bytes"] == first["image"]["bytes"]


@pytest.mark.slow
def test_of_a_named_selection(made: capfilt.Run, pairs: Path, changes: dict[str, Any], tmp_path: Path) -> None:
    run = capfilt.run(pairs, tmp_path / "out", set={**changes, "output.images": "reference"})
    [(best,)] = run.captions().aggregate("quantile_cont(itm, 0.9)").fetchall()
    strict = run.select(policy="blip", threshold=float(best), name="strict")
    run.select(policy="all")
    assert 0 < strict.images < 27
    assert sum(1 for _ in run.to_torch(selection="strict")) == strict.images
    assert sum(1 for _ in run.to_torch()) == 27
    with pytest.raises(capfilt.InputError, match="no selection 'other'; create it"):
        run.to_hf(selection="other")

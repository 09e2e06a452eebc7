"""Inputs out of public bug reports, taken from the folder to the export: what loaders open is what was judged."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from capfilt.pipelines.dedup.dedup import find_duplicates
from capfilt.pipelines.export.export import FORMATS, export
from pictures import picture
from staged_run import Pair, Run


def finished(source: Path, out: Path) -> Run:
    return Run(out, source, settings=("select.policy=all",)).finish()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["k10_export", "k11_images"])
def test_load_dataset_opens_every_export_of_a_field_case(name: str, shared_data: Path, tmp_path: Path) -> None:
    """k10: URLs that are null first and set later; k11: turned, 16 bits, transparent, and HEIC."""
    import datasets

    run = finished(shared_data / "field" / name, tmp_path / "out")
    count = len(run.table("images"))
    assert {row["reason"] for row in run.table("failures")} <= {"unsupported"}  # HEIC without its plug-in
    for kind, make in FORMATS.items():
        export(run.ledger.folder, str(tmp_path / kind), kind, make(), shard_rows=4)
        assert datasets.load_dataset(str(tmp_path / kind), split="train").num_rows == count


def test_the_pixels_of_odd_pictures_are_those_that_were_judged(shared_data: Path, tmp_path: Path) -> None:
    """A turned photo stands upright, 16 bits keep their range, what is transparent lies on white."""
    run = finished(shared_data / "field" / "k11_images", tmp_path / "out")
    rows = [row for file in (run.out / "corpus").glob("*.parquet") for row in pq.read_table(file).to_pylist()]
    names = {row["uid"]: row["source"].rpartition("#")[2] for row in run.table("images")}
    found = {names[row["uid"]]: Image.open(io.BytesIO(row["image"]["bytes"])).convert("RGB") for row in rows}
    with Image.open(shared_data / "field/k11_images/exif6.jpg") as lying:
        assert found["exif6.jpg"].size == lying.size[::-1]
    assert abs(np.asarray(found["grey16.png"]).mean() - 128) < 10
    assert np.asarray(found["logo_alpha.png"])[0, 0].tolist() == [255, 255, 255]


def test_color_tells_apart_what_brightness_does_not(shared_data: Path, tmp_path: Path) -> None:
    run = finished(shared_data / "field" / "k18_dedup", tmp_path / "out")
    find_duplicates(run.ledger.folder, radius=4, similarity=0.8)
    names = {row["uid"]: row["source"].rpartition("#")[2].partition(".")[0] for row in run.table("images")}
    groups: dict[int, set[str]] = {}
    for row in pq.read_table(run.out / "duplicates/images.parquet").to_pylist():
        groups.setdefault(row["group"], set()).add(names[row["uid"]])
    assert {"photo_a", "photo_b", "photo_c"} in groups.values()
    assert not any({"shop_mug_red", "shop_mug_green"} <= group for group in groups.values())
    assert not any(name.startswith("plain_") for group in groups.values() for name in group)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("score", [None, float("nan")])
@pytest.mark.parametrize("kind", ["hf", "parquet"])
def test_folders_with_and_without_scores_are_loaded_together(kind: str, score: float | None, tmp_path: Path) -> None:
    """A column that is null or NaN in all rows of one folder keeps its type."""
    import datasets

    scores: Any = [(score, score)] * 6 + [(0.5, 0.25)] * 6
    rows = [Pair(f"http://a/{n}" if n > 5 else "", picture(n), (f"text {n}",), itm) for n, itm in enumerate(scores)]
    run = Run.over(rows, tmp_path, settings=("select.policy=all",)).finish()
    export(run.ledger.folder, str(tmp_path / "set"), kind, FORMATS[kind](), shard_rows=6)
    found = datasets.load_dataset(str(tmp_path / "set"), split="train")
    by_text = {row["text"]: row["captions"][0]["itm"] for row in found}
    assert len(by_text) == len(rows)
    assert by_text["text 11"] == 0.5

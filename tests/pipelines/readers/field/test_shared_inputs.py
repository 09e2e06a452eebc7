"""Files that nobody here wrote, where the shared data lies beside the checkout."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from capfilt.core.config import InputSettings
from capfilt.pipelines.imaging.signatures import looks_like_an_image
from capfilt.pipelines.plan import make_plan
from reading import read_all, texts


@pytest.mark.slow
def test_flickr_shards(shared_data: Path) -> None:
    rows = read_all(shared_data / "flickr8k_112")
    assert len(rows) == 7091
    assert all(row["image"].startswith(b"\xff\xd8") and row["reason"] is None for row in rows)
    assert Counter(len(row["texts"]) for row in rows)[5] > 7000
    assert all(1 <= len(row["texts"]) <= 5 for row in rows)
    assert rows[0]["source"] == "flickr8k_112/00000.tar#000000000"


def test_photos_with_a_list(shared_data: Path) -> None:
    rows = read_all(shared_data / "photos")
    assert len(rows) == 149
    assert all(row["image"] and row["texts"] and row["reason"] is None for row in rows)
    assert Counter(len(row["texts"]) for row in rows) == {1: 120, 5: 29}


def test_malformed_pictures(shared_data: Path) -> None:
    rows = read_all(shared_data / "malformed")
    read = {row["source"].removeprefix("malformed#") for row in rows}
    others = [path for path in (shared_data / "malformed").iterdir() if path.name not in read]
    assert len(rows) + len(others) == 840
    assert all("." not in path.name and not looks_like_an_image(path.read_bytes()) for path in others)
    notes = make_plan([str(shared_data / "malformed")], InputSettings()).notes
    assert sum(int(note.split(": ")[1].split()[0]) for note in notes) == len(others)


def test_public_lists(shared_data: Path) -> None:
    laion = read_all(shared_data / "formats" / "laion_1000.parquet")
    table = pq.read_table(shared_data / "formats" / "laion_1000.parquet")
    assert [row["url"] for row in laion] == table["URL"].to_pylist()
    assert texts(laion) == [[text.strip()] if text else [] for text in table["TEXT"].to_pylist()]
    conceptual = read_all(shared_data / "formats" / "cc3m_500.tsv")
    lines = (shared_data / "formats" / "cc3m_500.tsv").read_text().splitlines()
    assert [(*text, row["url"]) for text, row in zip(texts(conceptual), conceptual, strict=True)] == [
        tuple(line.split("\t")) for line in lines
    ]


def test_public_image_bytes(shared_data: Path) -> None:
    cc12m = read_all(shared_data / "formats" / "cc12m-train-0000.tar")
    assert len(cc12m) == 32
    assert all(row["image"] and len(row["texts"]) == 1 and row["url"].startswith("http") for row in cc12m)
    parquet = read_all(shared_data / "formats" / "hf_image_bytes.parquet")
    assert [len(row["image"]) for row in parquet] == [171427, 189406, 113695]
    assert all(len(row["texts"]) == 1 for row in parquet)


@pytest.mark.parametrize("argument", ["formats", "formats/*"])
def test_a_folder_of_everything(argument: str, shared_data: Path) -> None:
    rows = read_all(shared_data / argument)
    assert len(rows) == 32 + 1000 + 500 + 3 + 16
    assert Counter(row["reason"] for row in rows) == {None: 1548, "missing_file": 3}
    broken = [row for row in rows if "/broken/" in row["source"]]
    assert [row["source"].partition("/broken/")[2] for row in broken if row["reason"]] == [
        "files_bad_image/data.csv#3",
        "shards_bad_image/0.tar#3.jpeg",
        "shards_wrong_tar/0.tar#0.jpg",
    ]
    assert sum(len(row["texts"]) for row in broken) == 14

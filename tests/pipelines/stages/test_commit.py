"""commit: the files of a chunk, what it refuses, and what a kill leaves behind."""

import hashlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from capfilt.core import schema
from capfilt.core.chunks import Chunk, Part
from capfilt.core.errors import IntegrityError
from capfilt.core.storage import Folder
from capfilt.pipelines.stages.commit import commit
from hand_made_run import Books, make_chunk, make_rows

SPEC = "5" * 64


def read(folder: Folder, name: str) -> pa.Table:
    return pq.read_table(folder.full(name))


def set_value(rows: pa.Table, column: str, row: int, value: object) -> pa.Table:
    values = rows[column].to_pylist()
    values[row] = value
    index = rows.column_names.index(column)
    return rows.set_column(index, column, pa.array(values, rows[column].type))


def test_a_chunk_becomes_three_tables_and_a_record(tmp_path: Path) -> None:
    chunk, folder = make_chunk(0), Folder.at(tmp_path)
    rows = make_rows(chunk)
    record = commit(rows, chunk, folder, SPEC)
    images, captions, failures = (read(folder, f"{name}/000000.parquet") for name in ("images", "captions", "failures"))
    assert images.cast(schema.IMAGES).schema.names == schema.IMAGES.names
    assert captions.schema.equals(schema.captions_schema(("itm", "itc")))
    assert failures.schema.equals(schema.FAILURES)
    uids = rows["uid"].to_pylist()
    dead = [uid for uid, reason in zip(uids, rows["reason"].to_pylist(), strict=True) if reason]
    assert failures["uid"].to_pylist() == dead
    assert images["uid"].to_pylist() == [uid for uid in uids if uid not in dead]
    assert [item["bytes"] for item in images["image"].to_pylist()] == rows["image"].drop_null().to_pylist()
    assert images["image"][0].as_py()["path"] == f"{uids[0]}.jpg"
    (entry,) = record.to_pylist()
    assert (entry["rows"], entry["images"], entry["failures"], entry["captions"]) == (6, 5, 1, 10)
    assert (entry["reasons"], entry["spec"]) == ([("http_404", 1)], SPEC)
    digests = {name: hashlib.sha256(folder.read(name)).hexdigest() for name, _ in entry["files"]}
    assert digests == dict(entry["files"])
    assert read(folder, "commits/000000.parquet").equals(record)


def test_captions_are_in_order_of_image_and_candidate(tmp_path: Path) -> None:
    chunk = make_chunk(1)
    rows = make_rows(chunk)
    commit(rows, chunk, Folder.at(tmp_path), SPEC)
    captions = read(Folder.at(tmp_path), "captions/000001.parquet")
    alive = [row for row in rows.to_pylist() if row["reason"] is None]
    wanted = [(row["uid"], number) for row in alive for number in (0, 1)]
    assert list(zip(captions["uid"].to_pylist(), captions["candidate"].to_pylist(), strict=True)) == wanted
    texts = [sorted(row["candidates"], key=lambda item: item["candidate"])[0]["text"] for row in alive]
    assert captions["text"].to_pylist()[::2] == texts


def test_retryable_follows_the_reason(tmp_path: Path) -> None:
    chunk = make_chunk(2)
    commit(make_rows(chunk), chunk, Folder.at(tmp_path), SPEC)
    failures = read(Folder.at(tmp_path), "failures/000002.parquet")
    by_reason = dict(zip(failures["reason"].to_pylist(), failures["retryable"].to_pylist(), strict=True))
    assert by_reason == {"timeout": True, "http_404": False}


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    chunk = make_chunk(0)
    rows = make_rows(chunk)
    pieces = pa.concat_tables([rows.slice(start, 2) for start in (0, 2, 4)])
    records = [
        commit(table, chunk, Folder.at(tmp_path / name), SPEC).to_pylist()
        for name, table in (("a", rows), ("b", pieces), ("c", rows.select(rows.column_names[::-1])))
    ]
    assert records[0] == records[1] == records[2]
    assert len({(tmp_path / name / "commits/000000.parquet").read_bytes() for name in "abc"}) == 1


def test_a_committed_chunk_is_left_alone(tmp_path: Path) -> None:
    """A worker that outlives its killed driver may fetch less luckily than the one that was first."""
    chunk, folder = make_chunk(0), Folder.at(tmp_path)
    rows = make_rows(chunk)
    record = commit(rows, chunk, folder, SPEC)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}
    late = set_value(set_value(rows, "reason", 0, "timeout"), "stage", 0, "fetch")
    assert commit(late, chunk, folder, SPEC).equals(record)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before
    with pytest.raises(IntegrityError, match="committed already, from another spec"):
        commit(rows, chunk, folder, "6" * 64)


def test_the_record_is_written_last(tmp_path: Path) -> None:
    chunk = make_chunk(0)
    (tmp_path / "commits").write_text("a file where the folder should be")
    with pytest.raises(OSError, match="commits"):
        commit(make_rows(chunk), chunk, Folder.at(tmp_path), SPEC)
    assert {path.parent.name for path in tmp_path.rglob("*.parquet")} == {"images", "captions", "failures"}


def break_rows() -> dict[str, tuple[Callable[[pa.Table], pa.Table], str]]:
    """Ways to break rows, by name, with what must be said about each."""
    twice = {"candidate": 0, "source": "web", "text": "x", "round": 0, "flags": []}
    return {
        "lost": (lambda rows: rows.slice(1), "5 rows, expected 6"),
        "doubled": (
            lambda rows: pa.concat_tables([rows.slice(0, 1), rows.slice(0, 5)]),
            r"row 1 \(list.csv#0\) is there twice",
        ),
        "moved to another file's place": (
            lambda rows: rows.take([5, 1, 2, 3, 4, 0]),
            r"row 0 \(more.csv#1\) is not the row planned",
        ),
        "other uid": (lambda rows: set_value(rows, "uid", 3, "0" * 32), r"row 3 \(list.csv#3\) is not the row planned"),
        "other source": (lambda rows: set_value(rows, "source", 3, "b.csv#3"), r"row 3 \(b.csv#3\) is not the row"),
        "other url": (lambda rows: set_value(rows, "url", 3, "http://x.org"), r"row 3 \(list.csv#3\) is not the row"),
        "no column": (lambda rows: rows.drop_columns("phash"), "no column phash"),
        "no bytes": (lambda rows: set_value(rows, "image", 1, None), "alive row list.csv#1 has no image"),
        "no size": (lambda rows: set_value(rows, "width", 1, None), "alive row list.csv#1 has no width"),
        "no candidates": (
            lambda rows: set_value(rows, "candidates", 3, None),
            "alive row list.csv#3 has no candidates",
        ),
        "no caption stage": (lambda rows: rows.drop_columns("candidates"), "alive row list.csv#0 has no candidates"),
        "no stage": (lambda rows: set_value(rows, "stage", 2, None), "failed row list.csv#2 has no stage"),
        "unknown reason": (lambda rows: set_value(rows, "reason", 2, "bad luck"), "reason 'bad luck' is not one of"),
        "twice": (lambda rows: set_value(rows, "candidates", 0, [twice, twice]), "candidate 0 is there twice"),
        "no text": (
            lambda rows: set_value(rows, "candidates", 0, [{**twice, "text": None}]),
            "column text has empty values",
        ),
    }


@pytest.mark.parametrize("case", break_rows())
def test_rows_that_are_not_the_planned_ones_raise(tmp_path: Path, case: str) -> None:
    break_them, message = break_rows()[case]
    chunk = make_chunk(0)
    with pytest.raises(IntegrityError, match=message):
        commit(break_them(make_rows(chunk)), chunk, Folder.at(tmp_path), SPEC)
    assert not list(tmp_path.rglob("*.parquet"))


@pytest.mark.parametrize("drop", [True, False])
def test_a_chunk_without_an_image(tmp_path: Path, drop: bool) -> None:
    chunk, folder = Chunk("000000", (Part("csv", "/data/list.csv", "list.csv", 2, 1, {}),)), Folder.at(tmp_path)
    rows = make_rows(chunk)
    record = commit(rows.drop_columns("candidates") if drop else rows, chunk, folder, SPEC)
    assert [record[name][0].as_py() for name in ("rows", "images", "failures", "captions")] == [1, 0, 1, 0]
    assert read(folder, "images/000000.parquet").schema.names == schema.IMAGES.names
    assert read(folder, "captions/000000.parquet").num_rows == 0


def test_everybody_opens_the_pictures(full_books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    files = full_books.ledger.folder.full("images/*.parquet")
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded.features["image"], datasets.Image)
    assert isinstance(loaded[0]["image"], Image.Image)
    assert loaded[0]["image"].size == (loaded[0]["width"], loaded[0]["height"])
    (path, data), *rest = duckdb.connect().sql(f"SELECT image.path, image.bytes FROM '{files}' ORDER BY ALL").fetchall()
    assert len(rest) == len(loaded) - 1
    assert Image.open(io.BytesIO(data)).format == "JPEG"
    assert path.endswith(".jpg")


def test_a_flipped_bit_on_the_disk_is_noticed(full_books: Books) -> None:
    data = bytearray(full_books.ledger.folder.read("images/000000.parquet"))
    group = pq.read_metadata(pa.BufferReader(data)).row_group(0)
    (column,) = (one for n in range(group.num_columns) if (one := group.column(n)).path_in_schema == "image.bytes")
    data[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    with pytest.raises(OSError, match="CRC checksum"):
        pq.read_table(pa.BufferReader(data), page_checksum_verification=True)


WRITE_FOREVER = """
import os, sys
from capfilt.core.storage import Folder
folder = Folder.at(sys.argv[1])
data = [os.urandom(1 << 20) * 24, os.urandom(1 << 20) * 25]
print("go", flush=True)
while True:
    for piece in data:
        folder.write("images/000000.parquet", piece)
"""


@pytest.mark.slow
def test_a_killed_writer_leaves_no_half_file(tmp_path: Path) -> None:
    whole = {24 << 20, 25 << 20}
    half_drafts = 0
    for round_ in range(4):
        command = [sys.executable, "-c", WRITE_FOREVER, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(0.1 + 0.017 * round_)
            os.kill(writer.pid, signal.SIGKILL)
        sizes = {path.name: path.stat().st_size for path in (tmp_path / "images").iterdir()}
        assert sizes.pop("000000.parquet", 24 << 20) in whole
        assert duckdb.connect().sql(f"FROM glob('{tmp_path}/images/*.parquet')").fetchall() in (
            [],
            [(f"{tmp_path}/images/000000.parquet",)],
        )  # DuckDB's globs match hidden names
        half_drafts += len(sizes)
        assert Folder.at(tmp_path).names("images") in ([], ["images/000000.parquet"])
        Folder.at(tmp_path).sweep("images")
        assert {path.name for path in (tmp_path / "images").iterdir()} <= {"000000.parquet"}
    assert half_drafts, "no kill came while a file was being written: the test shows nothing"

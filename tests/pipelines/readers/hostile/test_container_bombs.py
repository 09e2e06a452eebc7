"""Containers that claim or unpack to far more than they hold: a row or a line that says so, and little memory."""

import gzip
import io
import json
import resource
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.config import InputSettings
from capfilt.core.errors import InputError
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.readers.columnar import parquet
from capfilt.pipelines.readers.documents import reader as documents
from capfilt.pipelines.readers.files import packing
from capfilt.pipelines.readers.folder.samples import MAX_TEXT_BYTES
from capfilt.pipelines.readers.lists import records
from reading import picture, read_all, texts, write_tar
from waiting import at_most_cpu

ReadAll = Callable[..., list[dict[str, Any]]]


def peak() -> int:
    """Most memory this process has used, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def bomb(head: bytes, megabytes: int, filler: bytes = bytes(1_000_000)) -> bytes:
    """`head` and then megabytes of one byte, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([packer.compress(head), *(packer.compress(filler) for _ in range(megabytes)), packer.flush()])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["list.csv.gz", "list.jsonl.gz", "list.json.gz", "list.txt.gz"])
@pytest.mark.parametrize("filler", [bytes(1_000_000), b"[" * 1_000_000, b"\n" * 1_000_000], ids=["0", "[", "lines"])
def test_a_gzip_bomb_is_a_row_behind_what_could_be_read(
    name: str, filler: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "FREE", 500_000)  # of lines that are empty each is looked at
    url = "http://a.example/1.jpg"
    heads = {"csv": f"url,text\n{url},a cat\n", "jsonl": json.dumps({"url": url}) + "\n", "txt": url + "\n"}
    heads["json"] = "[" + json.dumps({"url": url}) + ","
    packed = bomb(heads[name.split(".")[1]].encode(), 4, filler)
    assert len(packed) * packing.RATIO < 4_000_000
    folder = tmp_path / "lists"
    folder.mkdir()
    (folder / name).write_bytes(packed)
    (folder / "good.csv").write_text(f"url,text\n{url},a dog\n")
    before = peak()
    rows = read_all(folder, memory=0)
    assert peak() - before < 200_000_000
    assert any(row["reason"] is None for row in rows)
    broken = [row for row in rows if row["reason"] == "bad_container"]
    assert len(broken) == 1
    assert "unpacks to more than" in broken[0]["detail"]


def test_a_list_that_packs_well_is_no_bomb(tmp_path: Path) -> None:
    lines = "url,text\n" + "".join(f"http://a.example/{n}.jpg,a cat\n" for n in range(5000))
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(lines.encode(), 9))
    assert len(read_all(tmp_path / "list.csv.gz", chunk_rows=1000)) == 5000


@pytest.mark.slow
def test_lines_without_end_are_not_held_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    with path.open("wb") as stream:
        stream.write(b"url,text\n")
        for _ in range(120):
            stream.write(b"x" * 1_000_000)
    before = peak()
    plan = make_plan([str(path)], InputSettings(memory=0))
    assert peak() - before < 80_000_000
    assert plan.rows == 120_000_000 // records.MAX_LINE
    assert max(chunk.rows for chunk in plan.chunks) * records.MAX_LINE <= 2 * InputSettings().chunk_bytes


def test_a_json_array_is_read_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_ARRAY", 2_000_000)
    monkeypatch.setattr(documents, "MAX_ARRAY", 2_000_000)
    record = {"url": "http://a.example/1.jpg", "text": "x" * 1000}
    (tmp_path / "list.json").write_text(json.dumps([record] * 3000))
    with pytest.raises(InputError, match=r"a JSON array of more than 2000000 bytes; use \.jsonl"):
        make_plan([str(tmp_path / "list.json")], InputSettings(memory=0))


def test_a_parquet_footer_that_declares_rows_it_cannot_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_FREE_ROWS", 1000)
    path = tmp_path / "list.parquet"
    pq.write_table(pa.table({"url": pa.array(["http://a.example/1.jpg"] * 1_000_000)}), path)
    assert path.stat().st_size < 10_000
    with at_most_cpu(seconds=10), pytest.raises(InputError, match="declares 1000000 rows, which it cannot hold"):
        make_plan([str(path)], InputSettings(memory=0))


@pytest.mark.parametrize("size", [10**6, 2**33, 2**60])
def test_a_tar_member_that_declares_a_huge_size(size: int, tmp_path: Path) -> None:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        good = tarfile.TarInfo("000.png")
        good.size = len(picture(0))
        archive.addfile(good, io.BytesIO(picture(0)))
    huge = tarfile.TarInfo("001.png")
    huge.size = size
    end = stream.getvalue().rstrip(b"\0")
    data = stream.getvalue()[: -(-len(end) // 512) * 512] + huge.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    (tmp_path / "a.tar").write_bytes(data)
    before = peak()
    rows = read_all(tmp_path / "a.tar")
    assert peak() - before < 50_000_000
    assert [row["reason"] for row in rows] == [None, "bad_container"]
    assert "breaks off inside '001.png'" in rows[1]["detail"]


def test_tar_names_and_links_lead_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(picture(1))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in ("../../secret.png", "/etc/passwd.png"):
            info = tarfile.TarInfo(name)
            info.size = len(picture(0))
            archive.addfile(info, io.BytesIO(picture(0)))
        for kind, name in (
            (tarfile.SYMTYPE, "soft.png"),
            (tarfile.LNKTYPE, "hard.png"),
            (tarfile.FIFOTYPE, "pipe.png"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "../secret.png"
            archive.addfile(info)
    rows = {row["source"]: row for row in read_all(tmp_path / "a.tar")}
    assert {source: row["reason"] for source, row in rows.items()} == {
        "a.tar#../../secret": None,  # a name in a table, and never a place
        "a.tar#/etc/passwd": None,
        "a.tar#soft": "missing_file",
        "a.tar#hard": "missing_file",
    }
    assert rows["a.tar#../../secret"]["image"] == picture(0)
    assert rows["a.tar#soft"]["detail"] == "a link to ../secret.png"


def test_a_zip_is_no_container_and_no_picture(tmp_path: Path) -> None:
    """42.zip and its like: nothing here ever unpacks one."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../a.png", bytes(50_000_000))
    (tmp_path / "a.zip").write_bytes(packed.getvalue())
    with pytest.raises(InputError, match="unknown file type"):
        make_plan([str(tmp_path / "a.zip")], InputSettings())
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.jpg").write_bytes(packed.getvalue())
    [row] = read_all(tmp_path / "pictures")
    assert row["image"] == packed.getvalue()  # for decode to say that it is not_an_image


def test_a_text_beside_an_image_that_is_no_caption_is_not_read(tmp_path: Path) -> None:
    """Sparse files: 24 of 250 MB take no room on the disk, and took 10 GB of memory."""
    large = MAX_TEXT_BYTES + 1
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
    (tmp_path / "0.txt").write_text("a dog")
    for name in ("1.txt", "2.json"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(large)
    rows = read_all(tmp_path)
    assert [row["reason"] for row in rows] == [None, "too_large", "too_large"]
    assert texts(rows) == [["a dog"], [], []]
    assert rows[1]["detail"] == f"{large} bytes: 1.txt"
    assert [row["reason"] for row in read_all(tmp_path, text="none")] == [None] * 3


def test_texts_beside_images_count_as_bytes_of_a_chunk(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(picture(number))
        (tmp_path / f"{number}.txt").write_text("word " * 80_000)
    chunks = make_plan([str(tmp_path)], InputSettings(chunk_bytes=1_000_000)).chunks
    assert [chunk.rows for chunk in chunks] == [2, 2]


def test_a_text_member_that_is_no_caption_is_a_failure(tmp_path: Path) -> None:
    large = b" " * (MAX_TEXT_BYTES + 1)
    rows = read_all(write_tar(tmp_path / "a.tar", [("0.png", picture(0)), ("0.txt", large), ("1.png", picture(1))]))
    assert [(row["reason"], row["detail"]) for row in rows] == [
        ("too_large", f"{len(large)} bytes: its .txt"),
        (None, None),
    ]

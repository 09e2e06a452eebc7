"""Small files that unpack to gigabytes: the process that reads them has a memory limit, and honest rows all arrive."""

import gzip
import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from capfilt.core.config import InputSettings
from capfilt.core.errors import InputError
from capfilt.core.processes import memory
from capfilt.core.processes.child_process import ChildProcess
from capfilt.core.processes.memory import peaks_of_children
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.readers.limited import limited
from capfilt.pipelines.stages.read import read
from peak_of_this_process import peak_growth
from reading import picture, read_all

LIMIT = 120_000_000
BESIDE = 150_000_000  # of the process before it reads
URL = "http://a.example/1.jpg"


def repeated(value: object, count: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([value]))


def write_parquet(path: Path, table: pa.Table, **options: Any) -> None:
    whole = {"compression": "zstd", "dictionary_pagesize_limit": 2**31 - 1, "store_schema": False}
    pq.write_table(table, path, **(whole | options))


def dictionary(path: Path) -> None:
    """Two hundred rows, all one value."""
    image = picture(0) + bytes(4_000_000)
    write_parquet(path, pa.table({"image": repeated(image, 200), "text": ["a"] * 200}))


def nested(path: Path) -> None:
    """A row whose texts are one value two thousand times."""
    texts = pa.ListArray.from_arrays(pa.array([0, 1, 2000], pa.int32()), repeated("x" * 500_000, 2000))
    write_parquet(path, pa.table({"url": [URL, URL + "2"], "text": texts}))


def deeper(path: Path) -> None:
    """The same one list further in."""
    inner = pa.ListArray.from_arrays(pa.array([0, 1, 2000], pa.int32()), repeated("x" * 500_000, 2000))
    outer = pa.ListArray.from_arrays(pa.array([0, 1, 2], pa.int32()), inner)
    write_parquet(path, pa.table({"url": [URL, URL + "2"], "text": outer}))


def prefixes(path: Path) -> None:
    """Texts of which each is the one before, written as a length."""
    table = pa.table({"url": [f"{URL}{n}" for n in range(200)], "text": ["z" * 1_000_000] * 200})
    write_parquet(path, table, use_dictionary=False, column_encoding={"text": "DELTA_BYTE_ARRAY"})


def page(path: Path) -> None:
    """One page of zeros."""
    table = pa.table({"image": pa.array([bytes(40_000_000)] * 4, pa.binary())})
    write_parquet(path, table, use_dictionary=False, data_page_size=2**31 - 1)


def arrow_buffer(path: Path) -> None:
    """A packed buffer of zeros."""
    with ipc.new_file(path, pa.schema([("image", pa.binary())]), options=ipc.IpcWriteOptions(compression="zstd")) as f:
        f.write_batch(pa.record_batch({"image": pa.array([bytes(40_000_000)] * 4, pa.binary())}))


def arrow_dictionary(path: Path) -> None:
    """A dictionary that Python makes a copy of for every row."""
    table = pa.table({"image": repeated(picture(0) + bytes(4_000_000), 200), "text": ["a"] * 200})
    with ipc.new_file(path, table.schema, options=ipc.IpcWriteOptions(compression="zstd")) as f:
        f.write_table(table)


def json_lists(path: Path) -> None:
    """A document of empty lists: three bytes each on the disk, 64 in memory."""
    path.write_bytes(gzip.compress(b'{"images": [' + b"[]," * 2_600_000 + b"[]]}", 1))


def json_line(path: Path) -> None:
    """One line of them, behind a sound one."""
    sound = b'{"url": "%s", "text": "a"}\n' % URL.encode()
    path.write_bytes(gzip.compress(sound * 3 + b'{"url": "%s2", "text": [' % URL.encode() + b"[]," * 2_600_000, 1))


BOMBS: dict[str, Callable[[Path], None]] = {
    "a.parquet": dictionary,
    "b.parquet": nested,
    "c.parquet": deeper,
    "d.parquet": prefixes,
    "e.parquet": page,
    "f.arrow": arrow_buffer,
    "g.arrow": arrow_dictionary,
    "h.json.gz": json_lists,
    "i.jsonl.gz": json_line,
}


@pytest.fixture(scope="module")
def bombs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bombs")
    for name, make in BOMBS.items():
        make(folder / name)
        assert (folder / name).stat().st_size < 200_000, name
    return folder


@pytest.fixture
def new_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reading process that has read nothing yet, and none before it that counts."""
    limited._PROCESSES.close()
    monkeypatch.setattr(memory, "_CHILDREN", {})


@pytest.mark.usefixtures("new_reader")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_costs_its_own_rows_and_the_memory_that_is_allowed(name: str, bombs: Path, tmp_path: Path) -> None:
    os.link(bombs / name, tmp_path / name)
    (tmp_path / "honest.csv").write_text("url,text\n" + "".join(f"http://b.example/{n}.jpg,a dog\n" for n in range(20)))
    with peak_growth() as grown:
        rows = read_all(tmp_path, memory=LIMIT)
    honest = [row for row in rows if row["source"].startswith(f"{tmp_path.name}/honest.csv")]
    assert [row["reason"] for row in honest] == [None] * 20
    bad = Counter(row["reason"] for row in rows if row not in honest)
    assert bad["bad_container"] >= 1
    assert set(bad) <= {None, "bad_container"}
    assert grown[0] < 4 * LIMIT  # what a part may hold when it is read, and its copy
    assert peaks_of_children()["reader"] < LIMIT + BESIDE


def test_a_row_that_is_too_large_is_a_failure_and_those_before_it_arrive(bombs: Path) -> None:
    rows = read_all(bombs / "b.parquet", memory=LIMIT)
    assert [row["reason"] for row in rows] == [None, "bad_container"]
    assert rows[1]["detail"] == "takes more memory to read than input.memory allows"


def test_a_file_that_is_refused_whole_is_one_line(bombs: Path) -> None:
    with pytest.raises(
        InputError, match=r"e\.parquet: takes more than 120,000,000 bytes of memory to read; see input\.memory"
    ):
        make_plan([str(bombs / "e.parquet")], InputSettings(memory=LIMIT))


def test_a_reader_that_dies_of_a_file_twice_makes_it_a_failure(tmp_path: Path) -> None:
    """pyarrow's ORC reader does not check whether it got the memory that it asked for, and ends the process."""
    orc.write_table(
        pa.table({"image": pa.array([bytes(40_000_000)] * 4, pa.binary())}), tmp_path / "a.orc", compression="zstd"
    )
    (tmp_path / "honest.csv").write_text(f"url,text\n{URL},a dog\n")
    with pytest.raises(InputError, match=r"a\.orc: the process that reads it was killed by SIG"):
        make_plan([str(tmp_path / "a.orc")], InputSettings(memory=LIMIT))
    rows = read_all(tmp_path, memory=LIMIT)
    assert sorted((row["reason"] or "", (row["detail"] or "")[:40]) for row in rows) == [
        ("", ""),
        ("bad_container", "the process that reads it was killed by "),
    ]


def test_a_reader_that_is_killed_once_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.csv").write_text(f"url,text\n{URL},a dog\n")
    [chunk] = make_plan([str(tmp_path / "a.csv")], InputSettings()).chunks
    sent = ChildProcess.send
    killed: list[int] = []

    def killed_at_first(self: ChildProcess, order: str, descriptor: int) -> None:
        if doomed := len(killed) < times:
            killed.append(self._process.pid)
            os.kill(self._process.pid, signal.SIGSTOP)  # or it might have answered before it is killed
        sent(self, order, descriptor)
        if doomed:
            os.kill(self._process.pid, signal.SIGKILL)

    monkeypatch.setattr(ChildProcess, "send", killed_at_first)
    times = 1
    assert read(chunk)["reason"].to_pylist() == [None]
    assert len(killed) == 1
    killed.clear()
    times = limited.TRIES
    assert read(chunk)["detail"].to_pylist() == ["the process that reads it was killed by SIGKILL"]
    assert len(set(killed)) == limited.TRIES

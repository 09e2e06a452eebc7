"""A format nobody asked for is one class: here an SQLite database with a table of URLs and texts."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest

from capfilt.core.chunks import Part
from capfilt.core.config import InputSettings
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.readers import READERS, redacted
from capfilt.pipelines.readers.files.failures import NotAnInput
from capfilt.pipelines.readers.rows.columns import RowFacts
from capfilt.pipelines.readers.rows.reader import InputFile, Reader, Where, batches, forgotten_row, make_part, raw_table
from capfilt.pipelines.readers.rows.rows import rows_of_found
from reading import picture, read_all, texts


class SqliteReader(Reader):
    """One row of the table `images` a row."""

    name = "sqlite"
    about = "the table `images` of an SQLite database"
    suffixes = ("sqlite",)

    def parts(self, file: InputFile, settings: InputSettings) -> Iterator[Part]:
        start = 0
        for rows, _ in batches(((number, 0) for number in self._numbers(file.location)), settings):
            yield make_part(file, start, len(rows), numbers=list(rows))
            start += len(rows)

    def read(self, part: Part) -> pa.Table:
        with closing(sqlite3.connect(part.file)) as database:
            found = dict(database.execute("SELECT rowid, url || char(9) || text FROM images"))
        lines = [found.get(number, "\t").split("\t") for number in part.where["numbers"][: part.rows]]
        rows = rows_of_found([RowFacts(url, None, [text]) for url, text in lines], part)
        gone = [number is None for number in part.where["numbers"]]
        return raw_table(forgotten_row(part, at) if gone[at] else row for at, row in enumerate(rows))

    def check(self, file: InputFile, settings: InputSettings) -> None:
        if not self._numbers(file.location):
            raise NotAnInput(f"{file.location}: an empty table")

    def redacted(self, part: Part, gone: Callable[[str], bool]) -> Where:
        numbers = part.where["numbers"]
        return part.where | {"numbers": [None if gone(str(part.start + at)) else n for at, n in enumerate(numbers)]}

    @staticmethod
    def _numbers(location: str) -> list[int]:
        with closing(sqlite3.connect(location)) as database:
            return [number for (number,) in database.execute("SELECT rowid FROM images ORDER BY rowid")]


def write(path: Path, count: int) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE images (url TEXT, text TEXT)")
        rows = [(f"http://h/{i}.jpg", f"text {i}") for i in range(count)]
        database.executemany("INSERT INTO images VALUES (?, ?)", rows)
        database.commit()


def test_a_new_format_needs_its_class_and_its_line_in_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.sqlite", 5)
    write(tmp_path / "empty.sqlite", 0)
    (tmp_path / "0.png").write_bytes(picture(0))
    (note,) = make_plan([str(tmp_path)], InputSettings()).notes
    assert "2 left out, an SQLite database" in note
    monkeypatch.setitem(READERS, SqliteReader.name, SqliteReader())
    rows = read_all(tmp_path, chunk_rows=2)
    assert [row["url"] for row in rows] == [None, *(f"http://h/{i}.jpg" for i in range(5))]
    assert texts(rows)[1:] == [[f"text {i}"] for i in range(5)]
    (note,) = make_plan([str(tmp_path)], InputSettings()).notes
    assert "an empty table" in note
    chunks = make_plan([str(tmp_path / "a.sqlite")], InputSettings()).chunks
    clean = redacted(chunks[0].parts[0], lambda source: source == "a.sqlite#2")
    assert READERS["sqlite"].read(clean)["reason"].to_pylist() == [None, None, "forgotten", None, None]

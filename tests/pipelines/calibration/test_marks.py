"""Marks on disk: nothing is lost, the latest counts, and who takes rows out of a file finds them gone."""

from pathlib import Path

import pyarrow.parquet as pq

from capfilt.core.serialization import parquet_bytes
from capfilt.core.storage import Folder
from capfilt.pipelines.calibration.marks import MARKS, MarkBook, read_labels, read_marks


def held(folder: Folder) -> list[tuple[str, int, bool]]:
    return [(row["uid"], row["candidate"], row["label"]) for row in read_labels(folder).to_pylist()]


def test_nothing_is_marked_at_first(tmp_path: Path) -> None:
    assert read_marks(Folder.at(tmp_path)).equals(MARKS.empty_table())


def test_the_latest_mark_counts_whoever_made_it(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    one, other = MarkBook(folder), MarkBook(folder)
    one.mark("b", 0, "a dog", True)
    other.mark("b", 0, "a dog", False)
    one.mark("a", 1, "a cat", False)
    one.mark("a", 0, "a", True)
    other.mark("a", 1, "a cat", True)
    assert held(folder) == [("a", 0, True), ("a", 1, True), ("b", 0, False)]
    assert len(folder.names("marks")) == 2


def test_a_mark_can_be_taken_back_and_made_again(tmp_path: Path) -> None:
    folder = Folder.at(tmp_path)
    book = MarkBook(folder)
    for right in (True, None):
        book.mark("a", 0, "a dog", right)
    assert held(folder) == []
    MarkBook(folder).mark("a", 0, "a dog", False)
    assert held(folder) == [("a", 0, False)]


def test_every_key_press_stays_on_disk(tmp_path: Path) -> None:
    book = MarkBook(Folder.at(tmp_path))
    for right in (True, None, False):
        book.mark("a", 0, "a dog", right)
    table = pq.read_table(tmp_path / book.name)
    assert table.schema.equals(MARKS)
    assert table["right"].to_pylist() == [True, None, False]


def test_rows_that_were_taken_out_do_not_come_back(tmp_path: Path) -> None:
    """As `capfilt forget` does it while a session is open."""
    folder = Folder.at(tmp_path)
    book = MarkBook(folder)
    book.mark("gone", 0, "a secret", True)
    book.mark("stays", 0, "a dog", True)
    table = pq.read_table(tmp_path / book.name)
    folder.write(book.name, parquet_bytes(table.slice(1)))
    book.mark("stays", 1, "a cat", False)
    assert held(folder) == [("stays", 0, True), ("stays", 1, False)]
    assert b"secret" not in (tmp_path / book.name).read_bytes()

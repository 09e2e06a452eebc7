"""SQLite databases: the table with images is read as a Parquet file is, and the file is never written to."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from capfilt.core.config import InputSettings
from capfilt.core.errors import ConfigError, InputError
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.readers.databases import sqlite
from reading import picture, read_all, texts


def write(path: Path, create: str, rows: Iterable[tuple[Any, ...]], table: str = "images") -> Path:
    with closing(sqlite3.connect(path)) as database:
        database.execute(create)
        values = list(rows)
        marks = ", ".join("?" * len(values[0])) if values else ""
        database.executemany(f"INSERT INTO {table} VALUES ({marks})", values)
        database.commit()
    return path


def urls(path: Path, count: int = 5) -> Path:
    rows = [(number, f"http://h/{number}.jpg", f"text {number}") for number in range(count)]
    return write(path, "CREATE TABLE images (id INTEGER PRIMARY KEY, url TEXT, caption TEXT)", rows)


@pytest.mark.parametrize("name", ["a.sqlite", "a.sqlite3", "a.DB", "without_suffix"])
def test_a_table_of_urls(name: str, tmp_path: Path) -> None:
    rows = read_all(urls(tmp_path / name), chunk_rows=2)
    assert [row["url"] for row in rows] == [f"http://h/{number}.jpg" for number in range(5)]
    assert texts(rows) == [[f"text {number}"] for number in range(5)]
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_image_bytes_and_paths_and_values_of_any_type(tmp_path: Path) -> None:
    rows = [(picture(0), "a red field"), (None, None), (picture(2), 7)]
    write(tmp_path / "a.db", "CREATE TABLE t (image BLOB, text)", rows, "t")
    found = read_all(tmp_path / "a.db")
    assert [row["image"] for row in found] == [picture(0), None, picture(2)]
    assert texts(found) == [["a red field"], [], ["7"]]
    (tmp_path / "0.png").write_bytes(picture(0))
    write(tmp_path / "b.db", "CREATE TABLE t (file_name TEXT, text TEXT)", [("0.png", "a field")], "t")
    assert read_all(tmp_path / "b.db")[0]["image"] == picture(0)


def test_rows_are_found_again_behind_gaps_and_in_any_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "_GROUP", 4)
    urls(tmp_path / "a.db", 50)
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("DELETE FROM images WHERE id % 3 = 1 OR id BETWEEN 20 AND 30")
        database.commit()
    kept = [number for number in range(50) if not (number % 3 == 1 or 20 <= number <= 30)]
    found = read_all(tmp_path / "a.db", chunk_rows=7)
    assert [row["url"] for row in found] == [f"http://h/{number}.jpg" for number in kept]
    assert read_all(tmp_path / "a.db", limit=9)[-1]["url"] == f"http://h/{kept[8]}.jpg"


def test_letters_that_are_not_utf8_are_repaired(tmp_path: Path) -> None:
    urls(tmp_path / "a.db", 2)
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("UPDATE images SET caption = CAST(x'63616ee9' AS TEXT) WHERE id = 1")
        database.commit()
    assert texts(read_all(tmp_path / "a.db"))[1] == ["can\ufffd"]


def test_a_database_without_a_table_of_images_or_with_several_is_named(tmp_path: Path) -> None:
    write(tmp_path / "notes.db", "CREATE TABLE notes (day TEXT, weather TEXT)", [("monday", "rain")], "notes")
    with pytest.raises(ConfigError, match="no table has a column with images, URLs or paths; tables: notes"):
        make_plan([str(tmp_path / "notes.db")], InputSettings())
    urls(tmp_path / "two.db")
    write(tmp_path / "two.db", "CREATE TABLE more (url TEXT)", [("http://h/1.jpg",)], "more")
    (tmp_path / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(600))
    (tmp_path / "0.png").write_bytes(picture(0))
    notes = " ".join(make_plan([str(tmp_path)], InputSettings()).notes)
    assert "several tables hold images (images, more)" in notes
    assert "not an SQLite database" in notes
    assert "Thumbs.db" in notes


def test_views_and_virtual_tables_of_a_stranger_are_not_asked(tmp_path: Path) -> None:
    urls(tmp_path / "a.db")
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("CREATE VIEW pictures AS SELECT url FROM images, images AS more, images AS most")
        database.execute("CREATE VIRTUAL TABLE words USING fts5(url)")
        database.commit()
    assert len(read_all(tmp_path / "a.db")) == 5


def test_generated_columns_of_a_stranger_are_not_computed(tmp_path: Path) -> None:
    endless = "(note LIKE '" + "%a" * 30 + "%b') VIRTUAL"
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute(f"CREATE TABLE t (note TEXT, g GENERATED ALWAYS AS {endless}, image BLOB, caption TEXT)")
        database.execute("INSERT INTO t VALUES (?, ?, ?)", ("a" * 400, picture(0), "a barn"))
        database.commit()
    (row,) = read_all(tmp_path / "a.db")
    assert row["image"] == picture(0)


def test_a_database_that_is_being_written_is_refused(tmp_path: Path) -> None:
    urls(tmp_path / "a.db")
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("INSERT INTO images VALUES (99, 'http://h/99.jpg', 'late')")
        database.commit()
        with pytest.raises(InputError, match=r"another program writes it \(a.db-wal\)"):
            make_plan([str(tmp_path / "a.db")], InputSettings())


def test_a_damaged_database_is_a_row_of_its_folder_and_an_error_by_name(tmp_path: Path) -> None:
    urls(tmp_path / "a.db", 2000)
    whole = (tmp_path / "a.db").read_bytes()
    (tmp_path / "a.db").write_bytes(whole[:5000] + bytes(3000) + whole[8000:20_000])
    (tmp_path / "0.png").write_bytes(picture(0))
    with pytest.raises(InputError, match=r"a\.db"):
        make_plan([str(tmp_path / "a.db")], InputSettings())
    rows = read_all(tmp_path)
    assert [row["reason"] for row in rows if "a.db" in row["source"]] == ["bad_container"]

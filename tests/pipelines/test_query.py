"""Queries: views, what SQL may not do, and how answers are written."""

import base64
import csv
import io
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem
from rich.cells import cell_len

from capfilt.cli.terminal.query_formats import SHOWN_ROWS, format_table
from capfilt.core import schema
from capfilt.core.config import SelectSettings
from capfilt.core.errors import InputError, IntegrityError, UserError
from capfilt.core.formatting import UNSAFE
from capfilt.core.serialization import parquet_bytes
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status
from capfilt.pipelines.query import connect, run_query
from capfilt.pipelines.selection.select import select
from capfilt.pipelines.stages.commit import commit
from hand_made_run import Books, make_rows

VIEWS = ("images", "captions", "failures", "decisions", "corpus", "commits")


def count(books: Books, view: str) -> int:
    (row,) = run_query(books.ledger.folder, f"SELECT count(*) AS n FROM {view}").to_pylist()
    return int(row["n"])


def test_the_views_hold_the_files(full_books: Books) -> None:
    select(full_books.ledger.folder, SelectSettings())
    for view in VIEWS:
        files = pq.read_table(full_books.ledger.folder.full(view))
        assert count(full_books, view) == files.num_rows > 0
        answer = run_query(full_books.ledger.folder, f"SELECT * FROM {view}")
        assert answer.column_names == files.column_names
        assert sorted(map(str, answer.to_pylist())) == sorted(map(str, files.to_pylist()))


def test_tables_without_files_are_empty_views_with_their_columns(books: Books) -> None:
    wanted = {"images": schema.IMAGES, "failures": schema.FAILURES, "decisions": schema.DECISIONS}
    for view, columns in {**wanted, "commits": schema.COMMITS, "captions": schema.captions_schema(())}.items():
        answer = run_query(books.ledger.folder, f"SELECT * FROM {view}")
        assert (answer.num_rows, answer.column_names) == (0, columns.names)
    assert "captions" in run_query(books.ledger.folder, "SELECT * FROM corpus").column_names


def test_a_join_over_judges(full_books: Books) -> None:
    select(full_books.ledger.folder, SelectSettings())
    sql = "SELECT count(*) AS n FROM captions JOIN decisions USING (uid, candidate) WHERE keep AND itm < 0.5"
    assert run_query(full_books.ledger.folder, sql).to_pylist() == [{"n": 0}]
    sql = "SELECT count(*) AS n FROM captions JOIN decisions USING (uid, candidate) WHERE keep = (itm >= 0.5)"
    assert run_query(full_books.ledger.folder, sql).to_pylist() == [{"n": 26}]


def test_only_committed_chunks_are_seen(full_books: Books) -> None:
    folder = full_books.ledger.folder
    folder.delete("commits/000001.parquet")
    folder.write("images/.tmp-1", b"half a file")
    folder.write("captions/000009.parquet", b"of a worker that is still at it")
    assert [count(full_books, view) for view in ("commits", "images", "failures", "captions")] == [2, 9, 3, 18]


def test_a_selection_is_seen_once_it_is_whole(books: Books) -> None:
    books.commit(0)
    select(books.ledger.folder, SelectSettings())
    decided = count(books, "decisions")
    books.commit(1)
    assert (count(books, "decisions"), count(books, "captions")) == (decided, 18)
    books.ledger.folder.delete("selection.toml")
    assert (count(books, "decisions"), count(books, "corpus")) == (0, 0)


def test_a_committed_file_that_is_missing_is_said(full_books: Books) -> None:
    full_books.ledger.folder.delete("failures/000001.parquet")
    with pytest.raises(IntegrityError, match=r"failures/000001\.parquet is committed, but missing"):
        connect(full_books.ledger.folder)


def test_books_on_a_file_system_that_is_not_local(tmp_path: Path, books: Books) -> None:
    """The same code as on a bucket: paths of another file system, no lock, no rename."""
    for name in ("images", "captions", "failures", "commits", "decisions", "corpus"):
        (tmp_path / "far" / name).mkdir(parents=True)
    far = Folder(SubTreeFileSystem(str(tmp_path), LocalFileSystem()), "far", "bucket://far")
    assert not far.is_local
    ledger = Ledger(far)
    ledger.write_plan(books.chunks, [], books.recipe, {}, {})
    for chunk in books.chunks:
        commit(make_rows(chunk), chunk, far, ledger.spec_digest(chunk))
    assert select(far, SelectSettings(), "reference") == select(far, SelectSettings())
    ledger.verify()
    seen = status(far)
    assert (seen.complete, seen.balanced, seen.selected, seen.images) == (True, True, True, 13)
    assert run_query(far, "SELECT count(*) AS n FROM corpus WHERE image.bytes IS NOT NULL").to_pylist() == [{"n": 9}]


def test_where_no_run_is(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(InputError, match="no run here"):
            connect(Ledger.at(folder).folder)


ESCAPES = (
    "COPY (SELECT 1) TO '{out}/stolen.csv'",
    "COPY (SELECT 1 AS uid) TO '{out}/images/000000.parquet' (USE_TMP_FILE false)",
    "WITH x AS (COPY (SELECT 1 AS uid) TO '{out}/images/000000.parquet' (USE_TMP_FILE false)) FROM x",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}/stolen.csv'",
    "EXPORT DATABASE '{out}/stolen'",
    "ATTACH '{out}/stolen.db'",
    "ATTACH '{out}/commits/000000.parquet' AS other",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_parquet('{out}/images/000000.parquet')",
    "FROM read_blob('/proc/self/environ')",
    "FROM sniff_csv('/etc/passwd')",
    "CREATE TABLE t (a VARCHAR); COPY t FROM '/etc/passwd'; FROM t",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET python_enable_replacements = true",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SELECT * FROM folder",  # a Python variable of run_query
    "INSERT INTO captions SELECT * FROM captions",
    "DELETE FROM captions",
)


@pytest.mark.parametrize("sql", ESCAPES)
def test_sql_reaches_no_file(full_books: Books, tmp_path: Path, sql: str) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match="query: ") as caught:
        run_query(full_books.ledger.folder, sql.format(out=full_books.ledger.folder.path))
    assert "\n" not in str(caught.value)
    with connect(full_books.ledger.folder) as connection, pytest.raises(duckdb.Error):
        connection.execute(sql.format(out=full_books.ledger.folder.path))
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nosuch FROM captions", 'query: Binder Error: Referenced column "nosuch" not found in FROM clause'),
        ("SELEC 1", "query: Parser Error: syntax error"),
        ("SELECT * FROM caption", "Table with name caption does not exist"),
        ("", "query: the SQL returns no table; use SELECT"),
        ("-- nothing but a remark", "query: the SQL returns no table"),
        ("SELECT 'x'::INTEGER AS a", "Could not convert string 'x' to INT32"),
    ],
)
def test_wrong_sql_is_one_line(full_books: Books, sql: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        run_query(full_books.ledger.folder, sql)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "LINE 1" not in str(caught.value)


def test_a_limit_bounds_what_is_fetched(full_books: Books) -> None:
    folder = full_books.ledger.folder
    assert run_query(folder, "FROM captions", limit=5).num_rows == 5
    assert run_query(folder, "SHOW TABLES", limit=99).num_rows == len(VIEWS) + 3  # selections, and two of duplicates
    assert run_query(folder, "DESCRIBE images", limit=99).num_rows == len(schema.IMAGES)


def test_columns_of_one_name_get_numbers(full_books: Books) -> None:
    answer = run_query(full_books.ledger.folder, "SELECT 1 AS a, 2 AS a, 3 AS a_1")
    assert answer.to_pylist() == [{"a": 1, "a_1": 2, "a_1_1": 3}]


def test_parquet_goes_in_and_out(full_books: Books) -> None:
    answer = run_query(full_books.ledger.folder, "SELECT uid, itm, flags FROM captions")
    assert pq.read_table(pa.BufferReader(parquet_bytes(answer))).equals(answer)


EVIL = "\x1b[31mred\x07\r\u202eesrever\x9b2J\x7f"

MIXED = pa.table(
    {
        "text": ["a cat", "=1+1", EVIL, None],
        "score": pa.array([0.7, -0.25, float("nan"), None], pa.float32()),
        "picture": pa.array([b"x" * 12_345, b"", None, b"+"], pa.large_binary()),
        "image": [{"bytes": b"z" * 34_000, "path": "a.jpg"}] * 4,
        "list": [["-a", "b"], [], None, [EVIL]],
        "reasons": pa.array([[("dns", 2)], [], None, []], pa.map_(pa.string(), pa.int64())),
        "amount": pa.array([Decimal("5.00"), Decimal("0.50"), None, Decimal("-1.00")], pa.decimal128(38, 2)),
        "day": pa.array([date(2026, 1, 2)] * 4),
        "seed": pa.array([2**64 - 1, 0, None, 5], pa.uint64()),
        "keep": [True, False, None, True],
    }
)


def test_table_shows_sizes_instead_of_bytes() -> None:
    lines = format_table(MIXED, "table", 200).splitlines()
    assert lines[0].split() == MIXED.column_names
    assert set(lines[1]) == {"-", " "}
    assert [word in lines[2] for word in ("a cat", "0.7", "<12.3 kB>", "<34 kB>", "[-a, b]", "{dns: 2}", "2026-01-02")]
    assert all(word in lines[2] for word in ("<12.3 kB>", "<34 kB>", "{dns: 2}", "5.00", "2026-01-02", "true"))
    assert "<0 B>" in lines[3]
    assert lines[5].startswith("NULL")


def test_csv_is_read_back() -> None:
    names, *rows = csv.reader(io.StringIO(format_table(MIXED, "csv")))
    assert names == MIXED.column_names
    assert rows[0][0] == "a cat"
    assert rows[1][0] == "'=1+1"
    assert rows[2][0] == r"\x1b[31mred\x07\r\u202eesrever\x9b2J\x7f"
    assert rows[3][0] == ""
    assert [row[1] for row in rows] == ["0.7", "-0.25", "", ""]
    assert base64.b64decode(rows[0][2]) == b"x" * 12_345
    assert json.loads(rows[0][4]) == ["-a", "b"]
    assert (rows[0][5], rows[0][6], rows[3][6]) == ('{"dns": 2}', "5", "-1")
    assert rows[0][8] == str(2**64 - 1)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_cell_of_csv_is_a_formula(start: str) -> None:
    table = pa.table({f"{start}name": [f"{start}cmd|' /C calc'!A0"], "number": [-5]})
    (name, _), (cell, number) = csv.reader(io.StringIO(format_table(table, "csv")))
    assert name.startswith("'")
    assert cell.startswith("'")
    assert number == "-5"


def test_json_is_an_array_with_one_object_a_line() -> None:
    text = format_table(MIXED, "json")
    lines = text.splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("[", "]", 6)
    first, second, third, _ = json.loads(text)
    assert json.loads(lines[1].rstrip(",")) == first
    assert (first["score"], second["score"], third["score"]) == (0.7, -0.25, None)
    assert (first["reasons"], first["amount"], second["amount"], first["seed"]) == ({"dns": 2}, 5, 0.5, 2**64 - 1)
    assert third["text"] == EVIL
    assert json.loads(format_table(MIXED.slice(0, 0), "json")) == []


@pytest.mark.parametrize("fmt", ["table", "csv", "json"])
def test_no_control_character_comes_out(fmt: Literal["table", "csv", "json"]) -> None:
    text = format_table(MIXED, fmt, 1000)
    assert not UNSAFE.search(text.replace("\n", ""))
    assert "red" in text


wide = st.sampled_from(["a", "bb", "\u732b", "\U0001f408", "e\u0301"])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(wide, max_size=60).map("".join), min_size=1, max_size=6), st.integers(60, 120))
def test_a_table_fits_the_terminal(texts: list[str], width: int) -> None:
    table = pa.table({f"column {index}": [text, "short"] for index, text in enumerate(texts)})
    lines = format_table(table, "table", width).splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) == 4


def test_narrow_columns_are_not_cut_for_wide_ones() -> None:
    table = pa.table({"uid": ["f" * 32], "candidate": [1], "text": ["word " * 100]})
    line = format_table(table, "table", 80).splitlines()[2]
    assert line.startswith(f"{'f' * 32}          1  word word")
    assert len(line) == 80


def test_a_long_answer_says_that_there_is_more() -> None:
    table = pa.table({"n": range(SHOWN_ROWS + 1)})
    assert "more rows" in format_table(table, "table", 80).splitlines()[-1]
    assert "more rows" not in format_table(table.slice(1), "table", 80)
    assert len(format_table(table, "csv").splitlines()) == SHOWN_ROWS + 2


def test_nothing_at_all() -> None:
    empty = pa.table({"uid": pa.array([], pa.string()), "itm": pa.array([], pa.float32())})
    assert format_table(empty, "table", 80) == "uid  itm\n---  ---\n"
    assert format_table(empty, "csv") == "uid,itm\n"

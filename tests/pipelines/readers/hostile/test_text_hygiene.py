"""What strangers wrote becomes harmless where it is read, once, for every format."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from capfilt.pipelines.readers.rows.reader import Row, raw_table
from capfilt.pipelines.readers.text.hygiene import (
    MAX_TEXT,
    MAX_TEXTS,
    MAX_URL,
    clean_key,
    clean_line,
    clean_texts,
    clean_url,
)
from capfilt.pipelines.readers.text.texts import texts_of
from reading import picture, read_all

ReadAll = Callable[..., list[dict[str, Any]]]

HARMFUL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")


@given(st.text(st.characters(exclude_categories=()), max_size=300))
def test_nothing_harmful_is_left(text: str) -> None:
    for cleaned in (clean_line(text), clean_url(text), *clean_texts([text])):
        assert not HARMFUL.search(cleaned)
        cleaned.encode()
    assert not HARMFUL.search(clean_key(text))


@given(st.text("a\\x1b\x1b\n\u202e\ud800", max_size=8), st.text("a\\x1b\x1b\n\u202e\ud800", max_size=8))
def test_keys_that_differ_still_differ(one: str, other: str) -> None:
    assert (clean_key(one) == clean_key(other)) == (one == other)


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("a\x00b\x1b[31mc\r\n", "a b [31mc"),
        ("a cat\u202egpj.exe", "a catgpj.exe"),
        ("\u2066a\u2069 b\u2028c", "a b c"),
        ("half \ud83d", "half \ufffd"),
        ("  \ufeffa man \u00e9 \U0001f468\u200d\U0001f469\u200d\U0001f467 \u05d0\u200f!  ", None),
        ("=HYPERLINK('x')", "=HYPERLINK('x')"),
        ("'; DROP TABLE images; --", "'; DROP TABLE images; --"),
    ],
)
def test_lines(text: str, cleaned: str | None) -> None:
    assert clean_line(text) == (text.strip("\ufeff ") if cleaned is None else cleaned)


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("http://user:pass@host/a.jpg", "http://***@host/a.jpg"),
        ("http://user@host", "http://***@host"),
        ("HTTPS://:pass@host:8080/a?b=c@d", "HTTPS://***@host:8080/a?b=c@d"),
        ("http://us@er:p@ss@host/", "http://***@host/"),
        ("http://user:pa\\ss@host/", "http://***@host/"),
        ("//user:pass@host/", "//***@host/"),
        ("http:///user:pass@host/", "http:///***@host/"),
        ("ht\ttp://user:pass@host/", "ht tp://***@host/"),
        ("user:pass@host/a.jpg", "user:***@host/a.jpg"),
        ("http:user:pass@host/", "http:***@host/"),
        ("http://host/@user/x:y@2x.jpg?m=a@b.c#@", "http://host/@user/x:y@2x.jpg?m=a@b.c#@"),
        ("https://host/a:b@c", "https://host/a:b@c"),
    ],
)
def test_passwords_in_urls_are_never_kept(url: str, cleaned: str) -> None:
    assert clean_url(url) == cleaned


def test_texts_are_cut_and_counted() -> None:
    assert clean_texts(["x" * 1_000_000]) == ["x" * MAX_TEXT]
    assert clean_texts(map(str, range(1_000_000))) == [str(n) for n in range(MAX_TEXTS)]
    deep: Any = "deep"
    for _ in range(500):
        deep = [deep]
    assert texts_of(deep) == []
    assert texts_of([["two", ["three"]]]) == ["two", "three"]


def test_a_url_that_is_no_address_but_a_file() -> None:
    long = "data:image/png;base64," + "A" * 1_000_000
    dead, alive = raw_table([Row("0", long), Row("1", long, image=b"picture")]).to_pylist()
    assert (dead["reason"], len(dead["url"])) == ("bad_url", MAX_URL)
    assert "1000022 characters" in dead["detail"]
    assert (alive["reason"], len(alive["url"])) == (None, MAX_URL)


HOSTILE = "a \x00\x1b]0;owned\x07 \u202edog\u2029"
SECRET = "http://user:s3cret@host.example/a.jpg"


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_every_list_is_read_clean(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"list.{kind}"
    record = {"url": SECRET, "text": HOSTILE}
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist([record]), path)
    elif kind in ("jsonl", "json"):
        path.write_text(json.dumps([record] if kind == "json" else record))
    else:
        mark = "," if kind == "csv" else "\t"
        path.write_text(f'url{mark}text\n{SECRET}{mark}"{HOSTILE}"\n', encoding="utf-8")
    [row] = read_all(path)
    assert row["url"] == "http://***@host.example/a.jpg"
    assert [text["text"] for text in row["texts"]] == ["a   ]0;owned  dog"]
    assert "s3cret" not in str(row)


def test_names_of_pictures_cannot_break_a_terminal(tmp_path: Path) -> None:
    names = ["a\x1b[2J.png", "a\\x1b[2J.png", "b\n.png", "x\u202egnp.exe.png"]
    for number, name in enumerate(names):
        (tmp_path / "names").mkdir(exist_ok=True)
        (tmp_path / "names" / name).write_bytes(picture(number))
    rows = read_all(tmp_path / "names")
    assert sorted(row["source"] for row in rows) == sorted(
        ["names#x\\u202egnp.exe.png", "names#a\\x1b[2J.png", "names#a\\\\x1b[2J.png", "names#b\\n.png"]
    )
    assert all(row["image"] for row in rows)

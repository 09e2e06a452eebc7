"""The stage as a function on a table: who is touched, who is not, in which order."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from capfilt.core import schema
from capfilt.core.config import FetchSettings
from capfilt.pipelines.stages.fetch import fetch

LOOPBACK = FetchSettings(allow_private=("127.0.0.1/32",), ports=(), per_host_rate=0)
Get = Callable[..., list[dict[str, Any]]]


def test_rows_with_an_image_and_dead_rows_are_untouched(site: str, hits: Counter[str]) -> None:
    common = {"texts": [{"text": "a cat", "source": "web"}], "url": f"{site}/body/untouched"}
    filled = {"uid": "1", "source": "s#1", "image": b"kept", **common}
    empty = {"uid": "2", "source": "s#2", "image": b"", **common}
    dead = {"uid": "3", "source": "s#3", "stage": "read", "reason": "bad_row", "detail": "line 3", **common}
    rows = pa.Table.from_pylist([filled, empty, dead], schema=schema.ROWS)
    assert fetch(rows, LOOPBACK).equals(rows)
    assert hits["/body/untouched"] == 0


def test_order_schema_and_further_columns_stay(site: str, table_of: Callable[[list[str | None]], pa.Table]) -> None:
    urls: list[str | None] = [f"{site}/body/{n}" if n % 3 else f"{site}/status/404?{n}" for n in range(50)]
    rows = table_of(urls).append_column("more", pa.array(range(50)))
    rows = pa.concat_tables([rows.slice(0, 20), rows.slice(20)])  # several Arrow chunks
    out = fetch(rows, LOOPBACK)
    assert out.schema.equals(rows.schema)
    untouched = [name for name in rows.column_names if name not in ("image", "stage", "reason", "detail")]
    assert out.select(untouched).equals(rows.select(untouched))
    expected = [str(n).encode() if n % 3 else None for n in range(50)]
    assert out["image"].to_pylist() == expected
    assert [row["reason"] for row in out.to_pylist()] == [None if n % 3 else "http_404" for n in range(50)]
    for row in out.to_pylist():
        alive = row["reason"] is None
        assert (row["image"] is not None) is alive
        assert (row["stage"], row["detail"]) == ((None, None) if alive else ("fetch", "HTTP 404"))


@pytest.mark.parametrize("url", [None, "", "  "])
def test_neither_url_nor_image(table_of: Callable[[list[str | None]], pa.Table], url: str | None) -> None:
    [row] = fetch(table_of([url]), LOOPBACK).to_pylist()
    assert (row["stage"], row["reason"]) == ("fetch", "no_image")


def test_an_empty_table(table_of: Callable[[list[str | None]], pa.Table]) -> None:
    assert fetch(table_of([]), LOOPBACK).equals(table_of([]))


def test_duplicates_are_fetched_once(site: str, get: Get, hits: Counter[str]) -> None:
    twins, once = f"{site}/body/twins", f"{site}/body/once"
    rows = get(twins, once, twins, f" {twins}\n")
    assert [row["image"] for row in rows] == [b"twins", b"once", b"twins", b"twins"]
    assert (hits["/body/twins"], hits["/body/once"]) == (1, 1)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/a.jpg",
        "file:///etc/passwd",
        "data:image/gif;base64,R0lGODlhAQABAAAAACw=",
        "javascript:alert(1)",
        "photos/cat.jpg",
        "//127.0.0.1/a.jpg",
        "http://",
        "http:///a.jpg",
        "http://:80/a.jpg",
        "http://127.0.0.1:99999/a.jpg",
        "http://127.0.0.1:port/a.jpg",
        "http://127.0.0.1/\x00a.jpg",
        "http://127.0.0.1\x00.example/a.jpg",
        "http://127.0.0.1/a\r\nHost: else/b.jpg",
        "http://[::1/a.jpg",
        "http://a..b/a.jpg",
        "http://" + "x" * 64 + ".example/a.jpg",
        "http://2130706433/a.jpg",
        "http://user:secret@127.0.0.1/a.jpg",
        "http://user@127.0.0.1/a.jpg",
        "http://:secret@127.0.0.1/a.jpg",
    ],
)
def test_bad_urls(get: Get, url: str) -> None:
    [row] = get(url)
    assert row["reason"] == "bad_url"
    assert "secret" not in row["detail"]


@pytest.mark.parametrize(
    "url",
    [
        "http://b\u00fccher.invalid/\u00fc b.jpg?q=\u2603",
        "http://\u4f8b\u3048.invalid/",
        "http://\u2603.invalid/",
        "http://x_y.invalid/",
        "HTTP://NOWHERE.INVALID./A.JPG",
    ],
)
def test_odd_names_are_looked_up(get: Get, url: str) -> None:
    assert get(url)[0]["reason"] == "dns"


def test_paths_survive(site: str, get: Get) -> None:
    rows = get(f"{site}/body/a b", f"{site}/body/a%20c", f"{site}/body/\u00fc", f"{site}/body/d#part")
    assert [row["image"] for row in rows] == [b"a b", b"a c", "\u00fc".encode(), b"d"]

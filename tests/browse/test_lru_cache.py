"""The small cache: one making however many ask, and a bound on what it holds."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from capfilt.browse.lru_cache import LRUCache


def test_a_value_is_made_once_however_many_ask() -> None:
    shelf: LRUCache[str, bytes] = LRUCache(100, len)
    gate, made = threading.Event(), []

    def make() -> bytes:
        made.append(1)
        gate.wait(10)
        return b"value"

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(shelf.get, "key", make) for _ in range(8)]
        gate.set()
        assert [answer.result() for answer in answers] == [b"value"] * 8
    assert len(made) == 1


def test_the_least_used_is_thrown_away() -> None:
    shelf: LRUCache[str, bytes] = LRUCache(100, len)
    made: list[str] = []

    def get(key: str, size: int = 40) -> None:
        shelf.get(key, lambda: made.append(key) or b"x" * size)

    for key in ("a", "b", "a", "c", "a", "b"):  # c pushes b out, and then b pushes c out
        get(key)
    assert made == ["a", "b", "c", "b"]
    get("large", 1000)
    get("large", 1000)
    get("a")
    assert made == ["a", "b", "c", "b", "large", "a"]


def test_what_failed_is_tried_again() -> None:
    shelf: LRUCache[str, bytes] = LRUCache(100, len)

    def fail() -> bytes:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        shelf.get("key", fail)
    assert shelf.get("key", lambda: b"yes") == b"yes"


def test_a_value_that_has_no_size_keeps_nobody_waiting() -> None:
    shelf: LRUCache[str, bytes | None] = LRUCache(100, lambda value: len(value or 1))  # type: ignore[arg-type]
    for _ in range(2):
        with pytest.raises(TypeError):
            shelf.get("key", lambda: None)

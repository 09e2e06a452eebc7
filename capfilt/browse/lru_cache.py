"""A small cache: made once however many ask at the same time, and the least used thrown away."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LRUCache(Generic[Key, Value]):
    """Values by key, `capacity` bytes of them (or a single one that is larger).

    Args:
        size: bytes of a value.
    """

    def __init__(self, capacity: int, size: Callable[[Value], int]) -> None:
        self._capacity, self._size = capacity, size
        self._lock = threading.Lock()
        self._futures: OrderedDict[Key, Future[Value]] = OrderedDict()
        self._sizes: dict[Key, int] = {}

    def get(self, key: Key, make: Callable[[], Value]) -> Value:
        """The value of `key`, made by the first who asks; all who wait get the exception that `make` raised."""
        with self._lock:
            future = self._futures.get(key)
            mine = future is None
            if future is None:
                future = self._futures[key] = Future()
            self._futures.move_to_end(key)
        if mine:
            self._make(key, future, make)
        return future.result()

    def _make(self, key: Key, future: Future[Value], make: Callable[[], Value]) -> None:
        try:
            value = make()
            size = self._size(value)
        except BaseException as error:  # whatever it was: nobody may wait for ever, and the next one tries again
            with self._lock:
                del self._futures[key]
            future.set_exception(error)
            return
        with self._lock:
            self._sizes[key] = size
            self._make_room(key)
        future.set_result(value)

    def _make_room(self, newest: Key) -> None:
        for key in list(self._futures):
            if sum(self._sizes.values()) <= self._capacity:
                return
            if key != newest and key in self._sizes:
                del self._futures[key], self._sizes[key]

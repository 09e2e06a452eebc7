"""A bound on the pixels that are decoded at the same time, so that memory does not grow with the number of threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """Lets images in while they fit beside those that are being decoded; a bigger one waits until it is alone."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def held(self, pixels: int) -> Iterator[None]:
        """Hold room for an image of so many pixels."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken == 0 or self._taken + pixels <= self._pixels)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()

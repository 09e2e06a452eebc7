"""The memory that two processes share while one decodes for the other: files in, pixels out, and what is at work.

ends    int64 [rows]     where the file of each row ends, the first one begins at 0
wanted  uint8 [rows]     1 for the rows to decode
since   float64 [rows]   `time.monotonic()` at which work on a row began (one clock for both processes), 0 while there
                         is none
files   bytes
pixels  uint8 [rows, spec.bytes], one block a PixelSpec
"""

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from capfilt.models.pixels import PixelSpec


class Shared:
    """A block of shared memory, mapped.

    Args:
        descriptor: an open file of the right size; it is not closed here.
        size: bytes of all files together.
    """

    def __init__(self, descriptor: int, rows: int, size: int, specs: Sequence[PixelSpec]) -> None:
        self._map = mmap.mmap(descriptor, total(rows, size, specs))
        self._at = 0
        self.ends: NDArray[np.int64] = self._array(np.int64, rows)
        self.since: NDArray[np.float64] = self._array(np.float64, rows)
        self.wanted: NDArray[np.uint8] = self._array(np.uint8, rows)
        self._files: NDArray[np.uint8] = self._array(np.uint8, size)
        blocks = {spec: self._array(np.uint8, rows * spec.bytes) for spec in specs}
        self.canvases = {spec: block.reshape(rows, spec.bytes) for spec, block in blocks.items()}

    def fill(self, files: Sequence[bytes | memoryview | None]) -> None:
        """Put the files in; None is a row without one."""
        self.ends[:] = np.cumsum([len(file or b"") for file in files])
        for row, file in enumerate(files):
            if file:
                self._files[self._begin(row) : self.ends[row]] = np.frombuffer(file, np.uint8)

    def file(self, row: int) -> bytes:
        """The file of a row."""
        return self._files[self._begin(row) : self.ends[row]].tobytes()

    def _begin(self, row: int) -> int:
        return int(self.ends[row - 1]) if row else 0

    def _array(self, kind: Any, count: int) -> NDArray[Any]:
        array = np.frombuffer(self._map, kind, count, self._at)
        self._at += array.nbytes
        return array


def total(rows: int, size: int, specs: Sequence[PixelSpec]) -> int:
    """Bytes of a block; never 0, which cannot be mapped."""
    # 17 = 8 + 8 + 1: ends, since and wanted.
    return max(1, 17 * rows + size + rows * sum(spec.bytes for spec in specs))

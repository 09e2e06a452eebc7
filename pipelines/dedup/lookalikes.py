"""All pairs of images that look alike: near hashes, and the same colors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from capfilt.pipelines.dedup import hamming
from capfilt.pipelines.dedup.hamming import Hashes, Rows
from capfilt.pipelines.imaging.fingerprints.color_layout import Layouts, same_colors


@dataclass(frozen=True, slots=True)
class Looks:
    """The different pairs of hash and color layout, sorted by hash."""

    hashes: Hashes  # [n]
    layouts: Layouts  # [n, 48]

    def near_pairs(self, radius: int) -> Iterator[tuple[Rows, Rows]]:
        """Every pair i != j whose hashes differ in at most `radius` bits and whose colors agree, once, in blocks."""
        values, starts = np.unique(self.hashes, return_index=True)
        sizes = np.diff(np.append(starts, len(self.hashes)))
        several = np.flatnonzero(sizes > 1)
        for left, right in _blocks(several, several, sizes):
            yield from self._agreeing(left, right, starts, sizes, same=True)
        for one, other in hamming.near_pairs(values, radius):
            for left, right in _blocks(one, other, sizes):
                yield from self._agreeing(left, right, starts, sizes, same=False)

    def _agreeing(
        self, left: Rows, right: Rows, starts: Rows, sizes: Rows, *, same: bool
    ) -> Iterator[tuple[Rows, Rows]]:
        """The pairs of members of hashes `left` and `right` whose colors agree."""
        counts = sizes[left] * sizes[right]
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        width = np.repeat(sizes[right], counts)
        for begin in range(0, len(inside), hamming.AT_ONCE):
            block = slice(begin, begin + hamming.AT_ONCE)
            one = np.repeat(starts[left], counts)[block] + inside[block] // width[block]
            other = np.repeat(starts[right], counts)[block] + inside[block] % width[block]
            agree = same_colors(self.layouts[one], self.layouts[other], self.hashes[one] & self.hashes[other])
            agree &= (one < other) if same else True
            yield one[agree], other[agree]


def _blocks(left: Rows, right: Rows, sizes: Rows) -> Iterator[tuple[Rows, Rows]]:
    """The pairs of hashes in blocks of about `AT_ONCE` pairs of members."""
    ends = np.cumsum(sizes[left] * sizes[right])
    start = done = 0
    while start < len(left):
        stop = max(start + 1, int(np.searchsorted(ends, done + hamming.AT_ONCE, "right")))
        yield left[start:stop], right[start:stop]
        start, done = stop, int(ends[stop - 1])


def distinct(hashes: Hashes, layouts: Layouts) -> tuple[Looks, Rows, Rows]:
    """The looks of rows, the first row of each, and the look of each row."""
    words = [*np.ascontiguousarray(layouts).view(np.uint64).T, hashes]
    order: NDArray[np.int64] = np.lexsort(words)  # stable, so the first row of a look comes first
    new = np.ones(len(order), bool)
    new[1:] = np.any([one[order][1:] != one[order][:-1] for one in words], axis=0)
    item = np.empty(len(order), np.int64)
    item[order] = np.cumsum(new) - 1
    return Looks(hashes[order][new], layouts[order][new]), order[new], item

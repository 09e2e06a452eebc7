"""All pairs of 64-bit hashes that differ in few bits: exact, without comparing each with each.

Multi-index hashing (Norouzi, Punjani, Fleet, CVPR 2012): cut the 64 bits into m bands. Two hashes that differ in at
most r bits differ in at most r // m bits in one of them, for else they would differ in more than r in all. So look
up every band of every hash among the same bands of the others, with 0 .. r // m of its bits turned, and verify what
is found. Bands of about log2(n) bits find few that do not hold.
"""

from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

BITS: Final = 64

AT_ONCE: Final = 1 << 21
"""Candidate pairs held in memory at once, about."""

Hashes = NDArray[np.uint64]
Rows = NDArray[np.int64]


def near_pairs(hashes: Hashes, radius: int) -> Iterator[tuple[Rows, Rows]]:
    """Every pair i < j of hashes that differ in at most `radius` bits, in blocks; each pair once.

    Args:
        hashes: uint64 [n], no two the same.
    """
    bands = _bands(len(hashes), radius)
    turned = radius // len(bands)
    for number, (shift, width) in enumerate(bands):
        keys = _band(hashes, shift, width)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        for mask in _masks(width, turned):
            for one, other in _lookups(keys, mask, order):
                left, right = np.minimum(one, other), np.maximum(one, other)
                difference = hashes[left] ^ hashes[right]
                # Mask 0 finds a pair both ways round, and each row itself; the other masks every pair once.
                near = (np.bitwise_count(difference) <= radius) & ((one < other) | bool(mask))
                # A pair that several bands find is given by the first of them.
                new = near & ~_seen(difference, bands[:number], turned)
                yield left[new], right[new]


def _bands(count: int, radius: int) -> list[tuple[int, int]]:
    """Where bands begin and how many bits they have; as many as make them log2(count) bits wide, at most radius + 1."""
    wanted = round(BITS / max(np.log2(max(count, 2)), 1))
    number = min(max(wanted, 1), radius + 1)
    edges = [BITS * band // number for band in range(number + 1)]
    return [(low, high - low) for low, high in pairwise(edges)]


def _band(hashes: Hashes, shift: int, width: int) -> Hashes:
    kept = np.uint64((1 << width) - 1)
    band: Hashes = (hashes >> np.uint64(shift)) & kept
    return band


def _masks(width: int, turned: int) -> Iterator[np.uint64]:
    """All numbers of `width` bits with at most `turned` of them set."""
    for count in range(turned + 1):
        for bits in combinations(range(width), count):
            yield np.uint64(sum(1 << bit for bit in bits))


def _lookups(keys: Hashes, mask: np.uint64, order: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Rows i and j with keys[i] ^ mask == keys[j], in blocks of about `AT_ONCE`; both ways round only for mask 0.

    Args:
        keys: sorted; the key of row order[k] is keys[k].
    """
    # Of two keys that differ by the mask the smaller one asks.
    asking = np.flatnonzero(keys <= keys ^ mask)
    wanted = keys[asking] ^ mask
    first = np.searchsorted(keys, wanted)
    # `searchsorted` gives len(keys) for what is larger than all of them.
    hit = np.flatnonzero(keys[np.minimum(first, len(keys) - 1)] == wanted)
    asking, first = asking[hit], first[hit]
    sizes = np.searchsorted(keys, wanted[hit], "right") - first
    ends = np.cumsum(sizes)
    start = done = 0
    while start < len(asking):
        stop = max(start + 1, int(np.searchsorted(ends, done + AT_ONCE, "right")))
        block, count = slice(start, stop), sizes[start:stop]
        inside = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        yield order[np.repeat(asking[block], count)], order[np.repeat(first[block], count) + inside]
        start, done = stop, int(ends[stop - 1])


def _seen(difference: Hashes, earlier: list[tuple[int, int]], turned: int) -> NDArray[np.bool_]:
    """Which pairs an earlier band has found already, given the bits in which they differ."""
    seen = np.zeros(len(difference), bool)
    for shift, width in earlier:
        seen |= np.bitwise_count(_band(difference, shift, width)) <= turned
    return seen

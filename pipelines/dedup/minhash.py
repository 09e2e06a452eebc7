"""Pairs of texts that say about the same, by MinHash (Broder 1997) and banding, then by their true similarity.

Similarity is Jaccard's over the sets of five-letter pieces. Each pair that is given is verified; that a pair is found
is likely, not sure: with 25 bands of 5 hashes 99.99 % at similarity 0.8, 98 % at 0.7.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capfilt.pipelines.dedup.groups import Rows

PIECE: Final = 5  # letters
# Texts of similarity s meet in some band with a chance of 1 - (1 - s**5)**25: 0.99995 at 0.8, 0.99 at 0.7, 0.55 at 0.5.
# More hashes a band miss more pairs; fewer make more pairs to compare for nothing.
BANDS: Final = 25
HASHES: Final = 5  # a band

COMPARED: Final = 8
"""Texts of a bucket that all others in it are compared with: the first ones, which are of most worth."""

_TEXTS: Final = 20_000  # hashed at once

Words = NDArray[np.uint64]


def plain(text: str) -> str:
    """What of a text counts: letters without case, compatible forms as one, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def similar_pairs(texts: Sequence[str], similarity: float) -> Iterator[tuple[Rows, Rows]]:
    """Pairs i < j of texts whose Jaccard similarity is at least `similarity`, in one block a band.

    Args:
        texts: different from one another, and made `plain`.
        similarity: over 0, at most 1; below 0.6 many pairs are missed.
    """
    if not texts:
        return
    keys = np.concatenate([_band_keys(texts[start : start + _TEXTS]) for start in range(0, len(texts), _TEXTS)])
    tried: set[tuple[int, int]] = set()
    for band in range(BANDS):
        new = [pair for pair in _candidates(keys[:, band]) if pair not in tried]
        tried.update(new)
        near = [pair for pair in new if jaccard(texts[pair[0]], texts[pair[1]]) >= similarity]
        left, right = np.array(near, np.int64).reshape(-1, 2).T
        yield left, right


def jaccard(one: str, other: str) -> float:
    """Pieces that both have, of those that any has."""
    a, b = pieces(one), pieces(other)
    return len(a & b) / len(a | b)


def pieces(text: str) -> set[str]:
    """All runs of five letters; of a shorter text that text."""
    return {text[start : start + PIECE] for start in range(max(len(text) - PIECE + 1, 1))}


def _candidates(keys: Words) -> Iterator[tuple[int, int]]:
    order = np.argsort(keys, kind="stable")
    # ~: no key equals its complement, so the first place starts a bucket, too.
    starts = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))
    sizes = np.diff(np.append(starts, len(keys)))
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
        bucket = order[start : start + size].tolist()
        for position, first in enumerate(bucket[:COMPARED]):
            yield from ((first, other) for other in bucket[position + 1 :])


def _band_keys(texts: Sequence[str]) -> Words:
    """uint64 [texts, BANDS]: equal where all hashes of a band are."""
    found, starts = _piece_hashes(texts)
    keys = np.zeros((len(texts), BANDS), np.uint64)
    for number, multiplier in enumerate(_mixed(np.arange(1, BANDS * HASHES + 1, dtype=np.uint64))):
        # Multiply-shift hashing: an odd multiplier maps 64 bits onto 64 bits, and the upper half is the well mixed one.
        least = np.minimum.reduceat((found * (multiplier | np.uint64(1))) >> np.uint64(32), starts)
        band = number // HASHES
        keys[:, band] = _mixed(keys[:, band] ^ least)
    return keys


def _piece_hashes(texts: Sequence[str]) -> tuple[Words, Rows]:
    """The hashes of all pieces of all texts, and where those of each text begin."""
    padded = [text.ljust(PIECE, "\0") for text in texts]
    letters = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), np.uint32).astype(np.uint64)
    lengths = np.array([len(text) for text in padded])
    windows = np.zeros(len(letters) - PIECE + 1, np.uint64)
    for offset in range(PIECE):
        windows = _mixed(windows ^ letters[offset : len(letters) - PIECE + 1 + offset])
    ends = np.cumsum(lengths)
    across = (ends[:-1, None] - np.arange(1, PIECE)).ravel()  # windows that run from one text into the next
    counts = lengths - PIECE + 1
    return np.delete(windows, across), np.cumsum(counts) - counts


def _mixed(values: Words) -> Words:
    """A well mixed function of 64 bits (the finalizer of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9) + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))

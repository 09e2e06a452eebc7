"""Rows of a list that name the same image: one image with several texts."""

import posixpath
from array import array
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capfilt.pipelines.readers.rows.columns import Names, find, reference_columns
from capfilt.pipelines.readers.rows.references import path_named
from capfilt.pipelines.readers.rows.rows import Entry
from capfilt.pipelines.readers.text.hygiene import MAX_URL, MISSING

NONE: Final = 0
"""In place of the digest of a record that names no image."""

_BITS: Final = (1 << 64) - 1


def reference_of(entry: Entry, names: Names) -> int:
    """64 bits that tell the image of a record from every other, or `NONE`."""
    if isinstance(entry, ValueError):
        return NONE
    values = [entry.get(column) for column, _ in reference_columns(tuple(entry), names.url)]
    if all(value is None or isinstance(value, str) for value in values):  # nearly always, and many times faster
        return _digest([value.strip() if value else "" for value in values])
    try:
        found = find(entry, names)
    except ValueError:
        return NONE
    if found.image is not None or (found.url is None and found.path is None):
        return NONE
    return _digest([found.path or "", found.url or ""])


def _digest(references: list[str]) -> int:
    """Of what tells an image; an image inside the list is one of its own."""
    named = [_plain(one) for one in references if one and one not in MISSING]
    if not named or max(map(len, named)) > MAX_URL:
        return NONE
    return digest_of(tuple(named))


def _plain(reference: str) -> str:
    """Of the spellings of one path the shortest: `./a.jpg` is `a.jpg`."""
    named = path_named(reference) if "#" in reference else reference
    return posixpath.normpath(named) if ("./" in named or "//" in named) and "://" not in named else named


def digest_of(image: bytes | tuple[str, ...]) -> int:
    """64 bits of an image, or of what names it; other ones in every process."""
    # 0 means NONE.
    return hash(image) & _BITS or 1


def first_rows(references: Iterable[int]) -> NDArray[np.int64] | None:
    """For each record the number of the first one with the same image; None where all differ."""
    digests = np.array(array("Q", references), np.uint64)
    told = digests != NONE
    if len(np.unique(digests[told])) == int(told.sum()):
        return None
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    rows = np.arange(len(digests), dtype=np.int64)
    return np.where(told, first[inverse], rows).astype(np.int64)

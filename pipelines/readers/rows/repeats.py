"""Rows of a list that name the same picture: one picture with several texts."""

import hashlib
from array import array
from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capfilt.pipelines.readers.rows.columns import Names, find
from capfilt.pipelines.readers.rows.rows import Entry

NONE: Final = 0
"""In place of the digest of a record that names no picture."""


def reference_of(entry: Entry, names: Names) -> int:
    """64 bits that tell the picture of a record from every other, or `NONE`."""
    if isinstance(entry, ValueError):
        return NONE
    try:
        found = find(entry, names)
    except ValueError:
        return NONE
    if found.image is not None or (found.url is None and found.path is None):
        return NONE
    key = f"{found.path}\0{found.url}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "little") or 1


def first_rows(references: Iterable[int]) -> NDArray[np.int64] | None:
    """For each record the number of the first one with the same picture; None where all differ."""
    digests = np.array(array("Q", references), np.uint64)
    told = digests != NONE
    if len(np.unique(digests[told])) == int(told.sum()):
        return None
    _, first, inverse = np.unique(digests, return_index=True, return_inverse=True)
    rows = np.arange(len(digests), dtype=np.int64)
    return np.where(told, first[inverse], rows).astype(np.int64)

"""Groups of near-duplicates: which row stands for which.

Items are taken in the order of their worth. One that no group has yet becomes a representative, and all within reach
of it that are still free belong to it. So every member is as near to its representative as was asked for (that A is
like B and B like C does not make A like C), and no two representatives are near-duplicates of each other.
"""

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from capfilt.core.storage import Folder
from capfilt.core.tables import read_table

FOLDER: Final = "duplicates"
IMAGES: Final = f"{FOLDER}/images.parquet"
CAPTIONS: Final = f"{FOLDER}/captions.parquet"
FACTS: Final = f"{FOLDER}/duplicates.toml"
"""What the tables were made from, and what they come to; written last."""

Rows = NDArray[np.int64]


def leaders(count: int, pairs: Iterable[tuple[Rows, Rows]], fixed: int = 0) -> Rows:
    """For each of `count` items, in the order of their worth, the item that stands for it: itself, if none does.

    Args:
        pairs: blocks of pairs i < j of near-duplicates, each pair at least once, in any order.
        fixed: so many of the first items stand for themselves whatever they are like.
    """
    blocks = [np.stack(block) for block in pairs]
    edges = np.concatenate(blocks, axis=1) if blocks else np.zeros((2, 0), np.int64)
    left, right = edges[:, np.lexsort((edges[1], edges[0]))]
    starts = np.flatnonzero(np.diff(left, prepend=-1))
    leader = np.arange(count)
    for first, last in pairwise([*starts, len(left)]):
        item = left[first]
        if leader[item] == item:
            others = right[first:last]
            leader[others[(leader[others] == others) & (others >= fixed)]] = item
    return leader


def numbered(leader: Rows) -> Rows:
    """Numbers 0, 1, ... for the groups, in the order of their leaders."""
    _, numbers = np.unique(leader, return_inverse=True)
    return numbers.astype(np.int64)


def read_duplicates(folder: Folder, name: str, columns: pa.Schema) -> pa.Table:
    """A table of duplicates; empty where `capfilt dedup` was not there, or was interrupted."""
    if not folder.exists(FACTS):
        return columns.empty_table()
    return read_table(folder, name, schema=columns)


def without_members(table: pa.Table, name: str) -> pa.Table:
    """A table of duplicates some of whose rows were taken out, or any other table as it is.

    A group that lost its representative, or all but that, is no group any more.
    """
    if name not in (IMAGES, CAPTIONS):
        return table
    own = is_representative(table)
    # Texts are compared within a run only: for them nothing is elsewhere.
    elsewhere = pc.not_equal(table["run"], "") if name == IMAGES else pc.xor(own, own)
    heads, members = pc.or_(own, elsewhere), pc.invert(own)
    whole = pc.and_(
        pc.is_in(table["group"], pc.unique(table.filter(heads)["group"])),
        pc.is_in(table["group"], pc.unique(table.filter(members)["group"])),
    )
    return table.filter(whole)


def is_representative(table: pa.Table) -> pa.ChunkedArray:
    """Which rows of a table of duplicates stand for themselves."""
    own = pc.equal(table["uid"], table["representative"])
    if "run" in table.column_names:  # another run may have a row of the same uid
        return pc.and_(own, pc.equal(table["run"], ""))
    return pc.and_(own, pc.equal(table["candidate"], table["representative_candidate"]))

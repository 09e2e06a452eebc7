"""Images that look alike: groups by the perceptual hash that decode stored."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from capfilt.core import schema
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.dedup.groups import Rows, leaders, numbered
from capfilt.pipelines.dedup.hamming import Hashes
from capfilt.pipelines.dedup.lookalikes import distinct
from capfilt.pipelines.imaging.fingerprints.color_layout import Layouts, layouts_of


def duplicate_images(ledger: Ledger, others: Sequence[Ledger], radius: int) -> pa.Table:
    """`schema.DUPLICATE_IMAGES` of a run, by group, the representative first, then by distance.

    Of most worth is what another run has, then the larger image, then the earlier row.

    Args:
        others: earlier runs. Whatever they have stands for itself, alike or not.
        radius: bits of 64 in which two phashes may differ. Every such pair is found, if its colors agree.
    """
    pictures = pa.concat_tables([_pictures(run, number) for number, run in enumerate([*others, ledger])])
    pictures = pictures.take(pc.sort_indices(pictures, [("run", "ascending"), ("area", "descending")]))
    hashes, runs = pictures["phash"].to_numpy(), pictures["run"].to_numpy()
    mine = int(np.searchsorted(runs, len(others)))  # rows from here on are of this run
    leader = _leaders(hashes, layouts_of(pictures["color_layout"].to_pylist()), radius, mine)
    grouped = np.arange(mine, len(hashes))
    grouped = grouped[(leader[grouped] < mine) | (np.bincount(leader[mine:], minlength=len(hashes))[leader[mine:]] > 1)]
    chosen = leader[grouped]
    names = pa.array([*(other.folder.location for other in others), ""])
    table = pa.table(
        {
            "uid": pictures["uid"].take(grouped),
            "group": numbered(chosen),
            "distance": np.bitwise_count(hashes[grouped] ^ hashes[chosen]),
            "representative": pictures["uid"].take(chosen),
            "run": names.take(runs[chosen]),
        }
    ).cast(schema.DUPLICATE_IMAGES)
    return table.take(np.lexsort((grouped, table["distance"].to_numpy(), grouped != chosen, table["group"].to_numpy())))


def _pictures(ledger: Ledger, number: int) -> pa.Table:
    """uid, phash, color_layout, run and area (pixels) of the images of a run, in order."""
    names = ["uid", "phash", "color_layout", "width", "height"]
    table = ledger.dataset("images", schema.IMAGES).to_table(columns=names)
    area = pc.multiply(table["width"].cast(pa.int64()), table["height"].cast(pa.int64()))
    run = pa.repeat(pa.scalar(number, pa.int32()), table.num_rows)
    return table.select(names[:3]).append_column("run", run).append_column("area", area)


def _leaders(hashes: Hashes, layouts: Layouts, radius: int, fixed: int) -> Rows:
    """For each row (in the order of worth) the row that stands for it; rows of one look are one item meanwhile."""
    looks, first, item = distinct(hashes, layouts)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    best = first[order]
    near = ((rank[one], rank[other]) for one, other in looks.near_pairs(radius))
    pairs = ((np.minimum(one, other), np.maximum(one, other)) for one, other in near)
    leader = leaders(len(order), pairs, int(np.searchsorted(best, fixed)))
    rows: NDArray[np.int64] = best[leader[rank[item]]]
    return rows

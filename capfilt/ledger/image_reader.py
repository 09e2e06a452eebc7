"""The original bytes of a few images of a run, without reading the others."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from capfilt.core import schema
from capfilt.core.tables import opened
from capfilt.ledger.ledger import Ledger

FILE: Final = "__filename"
"""The column in which a scan of pyarrow tells the file of every row."""


def read_images(ledger: Ledger, uids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """uid and bytes of those of the images that the run has, in the order of images/.

    Reads the uids of all images, and then only the row groups (some ten images each) that hold a wanted one.
    """
    for path, rows in _places(ledger, pa.array(sorted(set(uids)), pa.string())).items():
        with opened(ledger.folder, f"images/{Path(path).name}") as file:
            yield from _pictures(file, np.array(rows))


def _places(ledger: Ledger, wanted: pa.Array) -> dict[str, list[int]]:
    """By file: in which of its rows the wanted images are."""
    found: dict[str, list[int]] = defaultdict(list)
    passed: Counter[str] = Counter()
    for batch in ledger.dataset("images", schema.IMAGES).to_batches(columns=["uid", FILE]):
        if batch.num_rows:
            path = batch[FILE][0].as_py()
            rows = np.flatnonzero(pc.is_in(batch["uid"], value_set=wanted).to_numpy(zero_copy_only=False))
            if len(rows):
                found[path] += (passed[path] + rows).tolist()
            passed[path] += batch.num_rows
    return found


def _pictures(file: pq.ParquetFile, rows: np.ndarray) -> Iterator[tuple[str, bytes]]:
    sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    starts = np.cumsum([0, *sizes])
    groups = np.searchsorted(starts, rows, side="right") - 1
    for group in np.unique(groups):
        table = file.read_row_group(int(group), ["uid", "image"])
        for row in table.take(rows[groups == group] - starts[group]).to_pylist():
            yield row["uid"], row["image"]["bytes"]

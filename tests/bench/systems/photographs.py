"""Photographs with five captions each, out of webdataset shards, as Parquet that training reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core.config import InputSettings
from capfilt.core.schema import IMAGE, TEXT
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.stages.read import read

COLUMNS: Final = pa.schema([("image", IMAGE), ("captions", pa.list_(TEXT))])
FIRST: Final = 6000
"""Photographs to train on; the others are held out."""


def write(folder: Path, first: Path, others: Path) -> None:
    """Split them in two files, in the order of the shards."""
    rows = list(_rows(folder))
    pq.write_table(pa.Table.from_pylist(rows[:FIRST], COLUMNS), first)
    pq.write_table(pa.Table.from_pylist(rows[FIRST:], COLUMNS), others)


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    settings = InputSettings()
    for chunk in make_plan([str(folder)], settings).chunks:
        for row in read(chunk, settings.memory).to_pylist():
            captions = [{"text": text["text"], "source": "human"} for text in row["texts"]]
            yield {"image": {"bytes": row["image"], "path": f"{row['uid']}.jpg"}, "captions": captions}

"""Photographs with five captions each, out of webdataset shards, as Parquet that training reads."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core.schema import IMAGE, TEXT

COLUMNS: Final = pa.schema([("image", IMAGE), ("captions", pa.list_(TEXT))])
FIRST: Final = 6000
"""Photographs to train on; the others are held out."""


def write(folder: Path, first: Path, others: Path) -> None:
    """Split them in two files, in the order of the shards."""
    rows = list(_rows(folder))
    pq.write_table(pa.Table.from_pylist(rows[:FIRST], COLUMNS), first)
    pq.write_table(pa.Table.from_pylist(rows[FIRST:], COLUMNS), others)


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            files = {Path(member.name): tar.extractfile(member) for member in tar.getmembers()}
            for path in sorted(path for path in files if path.suffix == ".json"):
                told, photo = files[path], files[path.with_suffix(".jpg")]
                assert told is not None
                assert photo is not None
                captions = [{"text": text, "source": "human"} for text in json.load(told)["captions"]]
                yield {"image": {"bytes": photo.read(), "path": f"{path.stem}.jpg"}, "captions": captions}

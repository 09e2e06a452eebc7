"""What a format is, and what several of them share."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pyarrow as pa

from capfilt.core.storage import Folder

DATA: Final = "data"
"""The folder of an export that holds the shards."""

PARQUET: Final = "application/x-parquet"
TAR: Final = "application/x-tar"
ARRAY: Final = "application/json"
"""What shards, or the file that all of them come to, can be."""

_THREADS: Final = 8  # files written at once: on a bucket each is a request, and nearly all of it is waiting


@dataclass(frozen=True, slots=True)
class ExportLayout:
    """Where programs find the data: for the card and for Croissant."""

    shard: str  # file of a shard, with {} for its name
    mime: str
    reader: str  # code that opens the data set, {to} is where it lies
    yaml: tuple[str, ...] = ()  # further lines for the head of the card
    image_column: bool = False  # shards are tables with the images inside
    one_format: bool = False  # all images are files of one format


class ExportFormat(Protocol):
    """One form of an export. The files of a shard are written under the same names and with the same bytes always."""

    @property
    def layout(self) -> ExportLayout:
        """Where the data stands."""
        ...

    def write(self, folder: Folder, name: str, rows: pa.Table) -> None:
        """Write a shard; the file `layout.shard` last, for it says that the shard is there.

        Args:
            rows: `rows.rows_schema`.
        """
        ...

    def finish(self, folder: Folder, shards: dict[str, int]) -> None:
        """Write what can only be said once all shards are there, whose names and numbers of images these are."""
        ...


def records(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """The rows as Python values, a few at a time."""
    for batch in rows.to_batches(max_chunksize=256):
        yield from batch.to_pylist()


def to_json(value: Any) -> bytes:
    """JSON in UTF-8, one line; the same bytes for the same value."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")


def write_images(folder: Folder, place: str, rows: pa.Table) -> None:
    """Every image of the rows as a file of its own in a folder, under its own name."""

    def write(picture: dict[str, Any]) -> None:
        folder.write(f"{place}/{picture['path']}", picture["bytes"])

    with ThreadPoolExecutor(_THREADS) as pool:
        for batch in rows.select(["image"]).to_batches(max_chunksize=256):
            list(pool.map(write, batch["image"].to_pylist()))

"""The pixels of images that stand in Parquet files: all in memory where they fit, else decoded when asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from capfilt.core.config import DecodeSettings
from capfilt.core.errors import InputError
from capfilt.core.schema import GIVEN_TEXT, ROWS
from capfilt.core.storage import split_url
from capfilt.core.tables import damage_named
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.stages.decode import decode

AT_ONCE: Final = 1024
"""Images decoded in one go."""

Pixels = NDArray[np.uint8]
"""[n, S, S, 3]; of `fit` [n, S, S, 4]: an image in the upper left corner, whose last channel is 255, elsewhere 0."""


@dataclass(frozen=True, slots=True)
class RowGroup:
    """A row group of a file: `rows` images, the first of which has the number `first`."""

    location: str
    group: int
    first: int
    rows: int


@dataclass(frozen=True, slots=True)
class ImageIndex:
    """Images by number, wherever they stand. Small, and travels to other processes."""

    places: tuple[RowGroup, ...]
    pixels: PixelSpec

    def read(self, numbers: NDArray[np.int64]) -> Pixels:
        """Images, decoded now.

        Raises:
            InputError: one of them is no image; names the file.
        """
        firsts = np.array([place.first for place in self.places])
        where = np.searchsorted(firsts, numbers, side="right") - 1
        out = _empty(len(numbers), self.pixels)
        for index in np.unique(where):
            place, slots = self.places[index], np.flatnonzero(where == index)
            images, reasons = decoded(_blobs(place, numbers[slots] - place.first), self.pixels)
            for reason, number in zip(reasons, numbers[slots], strict=True):
                if reason:
                    raise InputError(
                        f"{place.location}: row {number} of the data is not an image ({reason}); "
                        "clean the data with `capfilt run` first"
                    )
            out[slots] = images
        return out


def decoded(blobs: pa.Array, pixels: PixelSpec) -> tuple[Pixels, list[str | None]]:
    """Pixels of every row (zeros where it is no image) and why it is none, by the decode stage of a run."""
    count = len(blobs)
    nothing = pa.nulls(count, pa.string())
    reason = pa.array([None if blob.is_valid else "no_image" for blob in blobs], pa.string())
    uids = pa.array([f"{row:032x}" for row in range(count)])
    texts = pa.array([[]] * count, pa.list_(GIVEN_TEXT))
    hosts = pa.nulls(count, pa.list_(pa.string()))
    values = [uids, uids, nothing, texts, blobs.cast(pa.large_binary()), hosts, nothing, reason, nothing]
    # The decode stage itself, so that a model is trained on the very pixels that it is shown in a run.
    rows = decode(pa.table(values, ROWS), DecodeSettings(), [pixels])
    if pixels.mode == "fit":
        return _cornered(rows, pixels), rows["reason"].to_pylist()
    blank = bytes(pixels.bytes)
    joined = b"".join(blob if blob is not None else blank for blob in rows[f"pixels:{pixels.name}"].to_pylist())
    return np.frombuffer(joined, np.uint8).reshape(count, pixels.size, pixels.size, 3), rows["reason"].to_pylist()


def _empty(count: int, pixels: PixelSpec) -> Pixels:
    return np.empty((count, pixels.size, pixels.size, 4 if pixels.mode == "fit" else 3), np.uint8)


def _cornered(rows: pa.Table, pixels: PixelSpec) -> Pixels:
    """Images that keep their shape, each in the corner of a square."""
    out = _empty(rows.num_rows, pixels)
    out[:] = 0
    columns = (rows[name].to_pylist() for name in (f"pixels:{pixels.name}", "width", "height"))
    for square, data, width, height in zip(out, *columns, strict=True):
        if data is not None:
            wide, high = pixels.shape(width, height)
            square[:high, :wide, :3] = np.frombuffer(data, np.uint8).reshape(high, wide, 3)
            square[:high, :wide, 3] = 255
    return out


def decode_all(places: Sequence[RowGroup], pixels: PixelSpec) -> tuple[Pixels, list[str | None]]:
    """Pixels of all images of some row groups, in order, and why some are none."""
    count = sum(place.rows for place in places)
    out = _empty(count, pixels)
    reasons: list[str | None] = []
    for place in places:
        blobs = _blobs(place)
        for start in range(0, len(blobs), AT_ONCE):
            images, why = decoded(blobs[start : start + AT_ONCE], pixels)
            out[len(reasons) : len(reasons) + len(why)] = images
            reasons += why
    return out, reasons


def _blobs(place: RowGroup, rows: NDArray[Any] | None = None) -> pa.Array:
    """The encoded images of a row group, or of some of its rows."""
    filesystem, path = split_url(place.location)
    with (
        damage_named(place.location),
        pq.ParquetFile(path, filesystem=filesystem, page_checksum_verification=True) as file,
    ):
        column = file.read_row_group(place.group, columns=["image"])["image"].combine_chunks()
    blobs = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
    return blobs if rows is None else blobs.take(pa.array(rows))

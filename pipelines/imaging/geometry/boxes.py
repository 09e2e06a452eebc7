"""Boxes of texts: from what the data says to shares of the upright image."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core.schema import GIVEN_TEXT

NOWHERE = [0.0, 0.0, 0.0, 0.0]
"""In place of what is no box: it has no area, so `caption` flags its text."""


class Upright(NamedTuple):
    """Width and height of an image in pixels, and the EXIF orientation by which it was turned."""

    width: int
    height: int
    orientation: int


def place_boxes(rows: pa.Table, images: Sequence[Upright | None]) -> pa.Table:
    """`rows` in which every box of `texts` is a `schema.BOX`; where there is no image they stay as they are."""
    lists = rows["texts"].combine_chunks()
    if pc.struct_field(lists.flatten(), "box").null_count == len(lists.flatten()):
        return rows
    placed = [
        [text | _placed(text, image) for text in texts] if image else texts
        for texts, image in zip(lists.to_pylist(), images, strict=True)
    ]
    index = rows.schema.get_field_index("texts")
    return rows.set_column(index, rows.schema.field(index), pa.array(placed, pa.list_(GIVEN_TEXT)))


def _placed(text: dict[str, Any], image: Upright) -> dict[str, Any]:
    if text["box"] is None:
        return {}
    return {"box": in_shares(text["box"], text["frame"], image), "frame": None}


def in_shares(box: Sequence[float], frame: Sequence[float] | None, image: Upright) -> list[float]:
    """A box of any frame as left, top, right, bottom in 0..1 of the upright image, without area where it lies outside.

    Data sets are annotated on the upright image or on the stored one. Where these differ in shape, the frame tells
    which; where it does not (a turn of 180 degrees, a square), the box is taken to be of the upright one.
    """
    if len(box) != 4:
        return NOWHERE
    wide, high = frame or (image.width, image.height)
    left, top, right, bottom = (
        min(max(value / side, 0.0), 1.0) for value, side in zip(box, (wide, high, wide, high), strict=True)
    )
    if (wide - high) * (image.width - image.height) < 0:
        left, top, right, bottom = _turned((left, top, right, bottom), image.orientation)
    return [left, top, max(left, right), max(top, bottom)]


def _turned(box: tuple[float, float, float, float], orientation: int) -> tuple[float, float, float, float]:
    """A box of a stored image as one of the upright image, for orientations that swap width and height."""
    left, top, right, bottom = box
    if orientation < 5:
        return box
    across = (1 - bottom, 1 - top) if orientation in (6, 7) else (top, bottom)
    down = (1 - right, 1 - left) if orientation in (7, 8) else (left, right)
    return across[0], down[0], across[1], down[1]


def has_area(box: Sequence[float]) -> bool:
    """Whether a box in shares holds anything."""
    return box[2] > box[0] and box[3] > box[1]

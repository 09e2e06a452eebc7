"""Some rows as the readers give them, and their images, drawn small."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from capfilt.core.chunks import Chunk, Part
from capfilt.core.config import Recipe
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.fetch import fetch
from capfilt.pipelines.stages.read import read

THUMBNAIL: Final = PixelSpec(280, "fit")
QUALITY: Final = 72  # of JPEG


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row of the inputs."""

    source: str  # identity of its file + "#" + key
    url: str  # empty where it has none
    texts: tuple[str, ...]
    reason: str  # why it failed; empty where it has not
    detail: str
    size: tuple[int, int] | None  # width and height of its image in pixels; None where it was not looked at
    thumbnail: str = ""  # a data URI


def look_at_rows(parts: Sequence[Part], recipe: Recipe, thumbnails: bool) -> tuple[ShownRow, ...]:
    """Read rows, and decode the images that they bring, each in the limited process for it.

    Args:
        thumbnails: also download the images that stand behind URLs, and draw them all.
    """
    rows = read(Chunk("check", tuple(parts)))
    rows = fetch(rows, recipe.fetch) if thumbnails else rows
    there = pc.is_valid(rows["image"])
    seen = {row["uid"]: row for row in _decoded(rows.filter(there), recipe).to_pylist()}
    return tuple(_shown(row, seen.get(row["uid"], {}), thumbnails) for row in rows.to_pylist())


def _decoded(rows: pa.Table, recipe: Recipe) -> pa.Table:
    """The rows with images, decoded; the images themselves are left out."""
    if not rows.num_rows:
        return rows
    return decode(rows, recipe.decode, [THUMBNAIL]).drop_columns(["image"])


def _shown(row: dict[str, Any], seen: dict[str, Any], thumbnails: bool) -> ShownRow:
    size = (seen["width"], seen["height"]) if seen.get("width") else None
    drawn = _drawn(seen[f"pixels:{THUMBNAIL.name}"], size) if size and thumbnails else ""
    facts = row | seen
    texts = tuple(text["text"] for text in row["texts"])
    return ShownRow(row["source"], row["url"] or "", texts, facts["reason"] or "", facts["detail"] or "", size, drawn)


def _drawn(pixels: bytes, size: tuple[int, int]) -> str:
    """The data URI of a JPEG."""
    sink = io.BytesIO()
    Image.frombytes("RGB", THUMBNAIL.shape(*size), pixels).save(sink, "JPEG", quality=QUALITY, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(sink.getvalue()).decode()}"

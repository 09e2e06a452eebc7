"""decode: the bytes of a chunk's images -> facts about each, its perceptual hash and the pixels that models ask for."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from capfilt.config import Decode
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.imaging.phash import SIDE, phash
from capfilt.pipelines.imaging.picture import BadImage, Picture, load_picture, read_header
from capfilt.pipelines.imaging.pillow import pillow_rules
from capfilt.pipelines.imaging.resize import square
from capfilt.pipelines.imaging.room import Room
from capfilt.schema import IMAGE_FACTS

PIXELS_AT_ONCE: Final = 100_000_000
"""Pixels all threads together decode at the same time; `decode.max_pixels` where that is more.

That is about 0.8 GB, with WebP 1.6 GB. What malloc keeps for each thread comes on top, unless the environment sets
PILLOW_BLOCK_SIZE=64m or MALLOC_ARENA_MAX=1.
"""

OVERSAMPLING: Final = 3
"""A JPEG is decoded at a scale that leaves this many times the pixels asked for along the shorter side; with 3, the
square differs from one made of the full picture by about 1 of 255 (root mean square over photos), with 2 by 3."""

Canvases = dict[PixelSpec, NDArray[np.uint8]]
"""For each PixelSpec [rows, size * size * 3]; threads write their own rows."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The values of `schema.IMAGE_FACTS` for one image."""

    sha256: str
    width: int
    height: int
    format: str
    phash: int


Outcome = Facts | BadImage | None
"""None for a row that was dead before."""


def decode(rows: pa.Table, settings: Decode, pixels: Sequence[PixelSpec] = (), threads: int | None = None) -> pa.Table:
    """Decode the image of every row that is alive, each once.

    An image is made upright (EXIF), of an animation the first frame is taken, and what is transparent lies on white.
    A JPEG is decoded at a reduced scale where every size asked for allows it; so its phash may differ by a few bits
    between runs that ask for other sizes.

    Args:
        rows: `schema.ROWS`.
        settings: what counts as an image.
        pixels: squares to make of every image; the same one twice makes one column.
        threads: images at once, by default the CPUs of the machine but at most 8. The result does not depend on it.

    Returns:
        `rows` + `schema.IMAGE_FACTS` + a column `pixels:<name>` a PixelSpec (fixed-size binary, uint8 RGB, height x
        width x channel), all null in dead rows. A row whose image cannot be used dies here, its `image` becomes null.
    """
    canvases = {spec: np.zeros((rows.num_rows, spec.bytes), np.uint8) for spec in pixels}
    side = OVERSAMPLING * max([SIDE, *(spec.size for spec in canvases)])
    room = Room(max(PIXELS_AT_ONCE, settings.max_pixels))
    alive = pc.is_null(rows["reason"]).to_pylist()

    def outcome(row: int) -> Outcome:
        if not alive[row]:
            return None
        data = rows["image"][row].as_py() or b""
        try:
            file = read_header(data, settings)
            with room.held(file.width * file.height):
                picture = load_picture(file, data, settings, side)
                _draw(picture, canvases, row)
                return _facts(picture, data)
        except BadImage as bad:
            return bad

    with pillow_rules(settings.max_pixels), ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
        outcomes = list(pool.map(outcome, range(rows.num_rows)))
    return _with_pixels(_with_facts(_with_deaths(rows, outcomes), outcomes), canvases)


def _draw(picture: Picture, canvases: Canvases, row: int) -> None:
    for spec, canvas in canvases.items():
        canvas[row] = np.asarray(square(picture.image, spec)).reshape(-1)


def _facts(picture: Picture, data: bytes) -> Facts:
    digest = hashlib.sha256(data).hexdigest()
    return Facts(digest, picture.width, picture.height, picture.format, phash(picture.image))


def _with_deaths(rows: pa.Table, outcomes: list[Outcome]) -> pa.Table:
    deaths = {row: bad for row, bad in enumerate(outcomes) if isinstance(bad, BadImage)}
    if not deaths:
        return rows
    dead = pa.array([row in deaths for row in range(rows.num_rows)])
    texts = {
        "stage": ["decode" for _ in outcomes],
        "reason": [deaths[row].reason.value if row in deaths else None for row in range(rows.num_rows)],
        "detail": [deaths[row].detail if row in deaths else None for row in range(rows.num_rows)],
        "image": None,
    }
    for name, values in texts.items():
        field = rows.schema.field(name)
        new = pa.scalar(None, field.type) if values is None else pa.array(values, field.type)
        rows = rows.set_column(rows.schema.get_field_index(name), field, pc.if_else(dead, new, rows[name]))
    return rows


def _with_facts(rows: pa.Table, outcomes: list[Outcome]) -> pa.Table:
    for field in IMAGE_FACTS:
        values = [getattr(outcome, field.name) if isinstance(outcome, Facts) else None for outcome in outcomes]
        rows = rows.append_column(field, pa.array(values, field.type))
    return rows


def _with_pixels(rows: pa.Table, canvases: Canvases) -> pa.Table:
    alive = np.packbits(pc.is_valid(rows["sha256"]).to_numpy(), bitorder="little")
    for spec, canvas in canvases.items():
        type_ = pa.binary(spec.bytes)
        buffers = [pa.py_buffer(alive), pa.py_buffer(canvas)]
        rows = rows.append_column(f"pixels:{spec.name}", pa.Array.from_buffers(type_, rows.num_rows, buffers))
    return rows

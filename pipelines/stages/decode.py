"""decode: the bytes of a chunk's images -> facts about each, its perceptual hash and the pixels that models ask for."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from capfilt.core.config import AS_THEY_CAME, DecodeSettings, OutputSettings
from capfilt.core.schema import IMAGE_FACTS, Reason
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.imaging.decode_images import Canvases, File, ImageFacts, Outcome, decode_images
from capfilt.pipelines.imaging.geometry.boxes import Upright, place_boxes
from capfilt.pipelines.imaging.image_file import BadImage
from capfilt.pipelines.imaging.isolation.isolated import decode_isolated
from capfilt.pipelines.stages.micro_batches import AroundDeaths, BatchRows
from capfilt.pipelines.stages.row_failures import RowFailure, mark_failed

_WHOLE: Final = {"center_crop": "keep_ratio", "border": "keep_ratio_largest"}
"""Modes that store another cut of an image, and those that store all of it at the same scale."""


@dataclass(frozen=True, slots=True)
class _How:
    """What a call of `decode` asks for."""

    settings: DecodeSettings
    specs: tuple[PixelSpec, ...]
    threads: int | None
    output: OutputSettings


def decode(
    rows: pa.Table,
    settings: DecodeSettings,
    pixels: Sequence[PixelSpec] = (),
    threads: int | None = None,
    pieces: AroundDeaths | None = None,
    output: OutputSettings = AS_THEY_CAME,
) -> pa.Table:
    """Decode the image of every row that has not failed, each once.

    An image is made upright (EXIF), of an animation the first frame is taken, and what is transparent lies on white.
    A JPEG is decoded at a reduced scale where every size asked for allows it; so its phash may differ by a few bits
    between runs that ask for other sizes.

    Args:
        rows: `schema.ROWS`.
        settings: what counts as an image.
        pixels: what to make of every image; the same one twice makes one column.
        threads: images at once, by default the CPUs of the machine but at most 8. The result does not depend on it.
        pieces: rows that killed this process are found by it, and are failures.
        output: what is stored of every image. Facts and pixels are those of the file that came, whatever it says.

    Returns:
        `rows` + `schema.IMAGE_FACTS` + a column `pixels:<name>` a PixelSpec (fixed-size binary, uint8 RGB, height x
        width x channel; of `fit` binary, its shape is `PixelSpec.shape(width, height)`), all null in failed rows. A row
        whose image cannot be used fails here, its `image` becomes null; in others `image` is what is to be stored, and
        boxes of texts are `schema.BOX`.
    """
    how = _How(settings, tuple(dict.fromkeys(pixels)), threads, output)
    if not rows.num_rows:
        return _decoded(rows, how)

    def work(some: BatchRows) -> list[pa.Table | None]:  # one table stands for all its rows
        return [_decoded(rows.slice(some[0], len(some)), how), *repeat(None, len(some) - 1)]

    found, dead = (pieces or AroundDeaths()).run(range(rows.num_rows), work)
    for row, death in dead.items():
        bad = mark_failed(rows.slice(row, 1), {0: RowFailure("decode", Reason.CODEC_CRASH, death)})
        found[row] = _decoded(bad, how)
    tables = [table for _, table in sorted(found.items()) if table is not None]
    return pa.concat_tables(tables).combine_chunks() if len(tables) > 1 else tables[0]


def _decoded(rows: pa.Table, how: _How) -> pa.Table:
    """The rows decoded; images with boxes are stored whole, for a box is in shares of all of the image."""
    whole = _WHOLE.get(how.output.resize_mode) if how.output.pixels == "resized" else None
    boxed = _have_boxes(rows) if whole else np.zeros(rows.num_rows, bool)
    if not boxed.any():
        return _decoded_alike(rows, how)
    stores_whole = replace(how, output=how.output.model_copy(update={"resize_mode": whole}))
    parts = [_decoded_alike(rows.filter(pa.array(boxed)), stores_whole)]
    if not boxed.all():
        parts.append(_decoded_alike(rows.filter(pa.array(~boxed)), how))
    order = np.concatenate([np.flatnonzero(boxed), np.flatnonzero(~boxed)])
    return pa.concat_tables(parts).combine_chunks().take(pa.array(np.argsort(order)))


def _have_boxes(rows: pa.Table) -> NDArray[np.bool_]:
    texts = rows["texts"].combine_chunks()
    places = pc.list_parent_indices(texts).filter(pc.is_valid(pc.struct_field(texts.flatten(), "box")))
    boxed = np.zeros(rows.num_rows, bool)
    boxed[places.to_numpy(zero_copy_only=False)] = True
    return boxed


def _decoded_alike(rows: pa.Table, how: _How) -> pa.Table:
    files = [
        memoryview(data.as_buffer()) if alive and data.is_valid else b"" if alive else None
        for data, alive in zip(rows["image"], pc.is_null(rows["reason"]).to_pylist(), strict=True)
    ]
    look = decode_isolated if how.settings.isolate else _decode_here
    outcomes, canvases = look(files, how.specs, how.settings, how.threads, how.output)
    failures = {
        row: RowFailure("decode", bad.reason, bad.detail)
        for row, bad in enumerate(outcomes)
        if isinstance(bad, BadImage)
    }
    placed = place_boxes(mark_failed(rows, failures), [_upright(outcome) for outcome in outcomes])
    return _with_pixels(_with_facts(_with_stored(placed, outcomes), outcomes), outcomes, canvases)


def _upright(outcome: Outcome | None) -> Upright | None:
    if isinstance(outcome, ImageFacts):
        return Upright(outcome.width, outcome.height, outcome.orientation)
    return None


def _decode_here(
    files: Sequence[File | None],
    specs: Sequence[PixelSpec],
    settings: DecodeSettings,
    threads: int | None,
    output: OutputSettings = AS_THEY_CAME,
) -> tuple[list[Outcome | None], Canvases]:
    """`decode_isolated` without a separate process: a file that crashes or hangs a codec stops the run."""
    canvases = {spec: np.zeros((len(files), spec.bytes), np.uint8) for spec in specs}
    found: dict[int, Outcome] = {}
    wanted = [row for row, file in enumerate(files) if file is not None]
    decode_images(
        wanted,
        lambda row: bytes(files[row] or b""),
        canvases,
        settings,
        threads,
        output,
        busy=lambda *_: None,
        tell=found.__setitem__,
    )
    return [found.get(row) for row in range(len(files))], canvases


def _with_stored(rows: pa.Table, outcomes: list[Outcome | None]) -> pa.Table:
    stored = [outcome.stored if isinstance(outcome, ImageFacts) else None for outcome in outcomes]
    if not any(stored):
        return rows
    place = rows.schema.get_field_index("image")
    images = pc.coalesce(pa.array(stored, pa.large_binary()), rows["image"].combine_chunks())
    return rows.set_column(place, rows.schema.field(place), images)


def _with_facts(rows: pa.Table, outcomes: list[Outcome | None]) -> pa.Table:
    for field in IMAGE_FACTS:
        values = [getattr(outcome, field.name) if isinstance(outcome, ImageFacts) else None for outcome in outcomes]
        rows = rows.append_column(field, pa.array(values, field.type))
    return rows


def _with_pixels(rows: pa.Table, outcomes: list[Outcome | None], canvases: Canvases) -> pa.Table:
    for spec, canvas in canvases.items():
        column = _shapes(outcomes, spec, canvas) if spec.mode == "fit" else _squares(outcomes, spec, canvas)
        rows = rows.append_column(f"pixels:{spec.name}", column)
    return rows


def _squares(outcomes: list[Outcome | None], spec: PixelSpec, canvas: NDArray[np.uint8]) -> pa.Array:
    # Bit order of Arrow's validity bitmaps.
    alive = np.packbits(np.array([isinstance(outcome, ImageFacts) for outcome in outcomes], bool), bitorder="little")
    return pa.Array.from_buffers(pa.binary(spec.bytes), len(outcomes), [pa.py_buffer(alive), pa.py_buffer(canvas)])


def _shapes(outcomes: list[Outcome | None], spec: PixelSpec, canvas: NDArray[np.uint8]) -> pa.Array:
    values: list[bytes | None] = []
    for outcome, row in zip(outcomes, canvas, strict=True):
        width, height = spec.shape(outcome.width, outcome.height) if isinstance(outcome, ImageFacts) else (0, 0)
        values.append(row[: 3 * width * height].tobytes() if width else None)
    return pa.array(values, pa.large_binary())

"""score: every judge scores every candidate text of every image once, and image judges describe the image alone."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from capfilt.core.schema import candidate_type
from capfilt.core.serialization import column_type
from capfilt.pipelines.imaging.geometry.boxes import has_area
from capfilt.pipelines.stages.caption import CANDIDATES, alive, image_input, pixel_tensor
from capfilt.pipelines.stages.micro_batches import MicroBatches
from capfilt.pipelines.stages.row_failures import mark_poison

if TYPE_CHECKING:
    from capfilt.models.pixels import Box, PixelSpec
    from capfilt.models.protocols import ImageJudge, Judge


def score(rows: pa.Table, judges: "Sequence[Judge]", batches: Sequence[MicroBatches] = ()) -> pa.Table:
    """Add the judges' columns (float32) to the structs of the column `candidates`; nothing is dropped.

    Args:
        rows: what `caption` gave.
        batches: micro-batches of images, one a judge; a poison row becomes a failure.
    """
    candidates = rows[CANDIDATES].to_pylist()
    for judge, own in zip(judges, batches or [MicroBatches(32) for _ in judges], strict=True):
        scores, poison = own.run(alive(rows), partial(_judge, rows, judge, candidates))
        rows = mark_poison(rows, "score", poison)
        for row, by_column in scores.items():
            for column, values in by_column.items():
                for candidate, value in zip(candidates[row], values, strict=True):
                    candidate[column] = value
            _flag_cut(judge, candidates[row])
    typed = pa.array(candidates, pa.list_(candidate_type(columns_of(judges))))
    return rows.set_column(rows.schema.get_field_index(CANDIDATES), CANDIDATES, typed)


def _flag_cut(judge: "Judge", candidates: list[dict[str, Any]]) -> None:
    """Flag the texts whose end the judge has not read: their score says nothing of it."""
    from capfilt.models.protocols import TruncatingJudge

    if isinstance(judge, TruncatingJudge):
        for candidate in candidates:
            if "truncated" not in candidate["flags"] and judge.cuts(candidate["text"]):
                candidate["flags"].append("truncated")


def _judge(
    rows: pa.Table, judge: "Judge", candidates: list[list[dict[str, Any]]], part: Sequence[int]
) -> list[dict[str, list[float | None]]]:
    """Of each row, the scores of its texts by column."""
    from capfilt.models.protocols import RegionJudge

    texts = [[c["text"] for c in candidates[row]] for row in part]
    images = pixel_tensor(rows, judge.pixels, part)
    if isinstance(judge, RegionJudge):
        boxes = _boxes(rows, judge.pixels, candidates, part)
        scores = _of_seen(judge.score_regions(images, texts, boxes), boxes)
    else:
        scores = _of_seen(judge.score(images, texts), [[None] * len(own) for own in texts])
    by_row = zip(*(scores[column] for column in judge.columns), strict=True)
    return [dict(zip(judge.columns, values, strict=True)) for values in by_row]


def _of_seen(
    scores: "Mapping[str, list[list[float]]]", boxes: "list[list[Box | None]]"
) -> dict[str, list[list[float | None]]]:
    """The scores, null for a text of a region that was cut off with an edge of the image: the judge saw none of it."""
    seen = [[box is None or has_area(box) for box in own] for own in boxes]
    return {
        column: [
            [value if sees else None for value, sees in zip(row, own, strict=True)]
            for row, own in zip(values, seen, strict=True)
        ]
        for column, values in scores.items()
    }


def _boxes(
    rows: pa.Table, pixels: "PixelSpec", candidates: list[list[dict[str, Any]]], part: Sequence[int]
) -> "list[list[Box | None]]":
    """Of each row, the boxes of its texts in what the judge sees of the image."""
    sizes = zip(*(rows[side].take(pa.array(part)).to_pylist() for side in ("width", "height")), strict=True)
    return [
        [None if (box := c.get("box")) is None else pixels.box(tuple(box), *size) for c in candidates[row]]
        for row, size in zip(part, sizes, strict=True)
    ]


def columns_of(judges: "Sequence[Judge]") -> tuple[str, ...]:
    """The score columns of several judges; an error names two judges that write the same one."""
    names = [name for judge in judges for name in judge.columns]
    if len(set(names)) != len(names):
        raise ValueError(f"two judges write the same column: {', '.join(names)}")
    return tuple(names)


def describe(rows: pa.Table, judges: "Sequence[ImageJudge]", batches: Sequence[MicroBatches] = ()) -> pa.Table:
    """Add the judges' columns; null in failed rows, and where a judge cannot tell.

    Args:
        rows: what `decode` gave.
        batches: micro-batches of images, one a judge; a poison row becomes a failure.
    """
    for judge, own in zip(judges, batches or [MicroBatches(32) for _ in judges], strict=True):
        told, poison = own.run(alive(rows), partial(_describe, rows, judge))
        rows = mark_poison(rows, "score", poison)
        for column, kind in judge.columns.items():
            values = [told[row][column] if row in told else None for row in range(rows.num_rows)]
            rows = rows.append_column(column, pa.array(values, column_type(kind)))
    return rows


def _describe(rows: pa.Table, judge: "ImageJudge", part: Sequence[int]) -> list[dict[str, Any]]:
    """Of each row, the values by column."""
    told = judge.describe(image_input(rows, judge.pixels, part))
    by_row = zip(*(told[column] for column in judge.columns), strict=True)
    return [dict(zip(judge.columns, values, strict=True)) for values in by_row]

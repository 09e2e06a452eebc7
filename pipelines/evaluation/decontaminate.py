"""Evaluation sets: images a model will be tested on, which must therefore not stand in what it is trained on.

OUT/evaluation.parquet holds what is compared, a row an image; a run writes it once, before any other work.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from capfilt.core import config
from capfilt.core.errors import InputError
from capfilt.core.schema import Reason
from capfilt.core.serialization import parquet_bytes
from capfilt.core.storage import Folder
from capfilt.core.tables import read_table
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.imaging.fingerprints.color_layout import Layouts, layouts_of, mirrored, same_colors
from capfilt.pipelines.plan import Plan, make_plan
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.read import read
from capfilt.pipelines.stages.row_failures import RowFailure, mark_failed

NAME: Final = "evaluation.parquet"
SETTING: Final = "decode.exclude_eval"

EVALUATION_IMAGES: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("phash", pa.uint64(), nullable=False),
        ("phash_mirrored", pa.uint64()),  # this and the next are null in runs before 0.2
        ("color_layout", pa.binary(48)),
    ]
)
"""The table evaluation.parquet."""

_ROWS: Final = 256  # images of a set that are decoded together


@dataclass(frozen=True, slots=True)
class EvaluationSets:
    """The images to keep out of a run; `plans` say which files they come from, and in what state."""

    plans: tuple[Plan, ...]

    @classmethod
    def find(cls, settings: config.DecodeSettings) -> Self:
        """Look what there is, without decoding it.

        Raises:
            InputError, ConfigError: one of them is missing or no input; names the setting.
        """
        return cls(tuple(_plan(location) for location in settings.exclude_eval))

    def inputs(self) -> list[tuple[str, int, str]]:
        """Identity, size and digest of every file, for `Ledger.write_plan`: a changed set is a changed run."""
        found = (file for plan in self.plans for file in plan.inputs)
        return [(f"{SETTING} {file.identity}", file.size, file.sha256) for file in found]

    def write(self, ledger: Ledger, settings: config.DecodeSettings) -> list[str]:
        """Write evaluation.parquet, unless a run has; a line about every set with rows that are no images.

        Raises:
            InputError: a set without a single image.
        """
        if not self.plans or (ledger.planned and ledger.folder.exists(NAME)):
            return []
        tables, notes = [], []
        for location, plan in zip(settings.exclude_eval, self.plans, strict=True):
            found = pa.concat_tables(_pictures(plan, settings))
            if not found.num_rows:
                raise InputError(f"{SETTING} = {location!r}: none of its {plan.rows} rows is an image")
            if missing := plan.rows - found.num_rows:
                notes.append(f"{location}: {missing} rows of this evaluation set, which are not images")
            tables.append(found)
        ledger.folder.write(NAME, parquet_bytes(pa.concat_tables(tables)))
        return notes


def _plan(location: str) -> Plan:
    try:
        return make_plan([location], config.InputSettings(text="none", chunk_rows=_ROWS))
    except InputError as error:
        raise InputError(f"{SETTING}: {error}") from error


def _pictures(plan: Plan, settings: config.DecodeSettings) -> Iterator[pa.Table]:
    yield EVALUATION_IMAGES.empty_table()
    for chunk in plan.chunks:
        rows = decode(read(chunk), settings)
        yield rows.filter(pc.is_null(rows["reason"])).select(EVALUATION_IMAGES.names).cast(EVALUATION_IMAGES)


def without_leaks(rows: pa.Table, folder: Folder, settings: config.DecodeSettings) -> pa.Table:
    """Decoded `rows`, with every image that equals or resembles one of an evaluation set marked failed."""
    if not settings.exclude_eval:
        return rows
    known = read_table(folder, NAME, schema=EVALUATION_IMAGES)
    leaks = find_leaks(rows, known, settings.eval_radius)
    failures = {row: RowFailure("decode", Reason.EVAL_LEAK, leak) for row, leak in enumerate(leaks) if leak is not None}
    return mark_failed(rows, failures)


def find_leaks(rows: pa.Table, known: pa.Table, radius: int) -> list[str | None]:
    """What each image shows of `known` (`EVALUATION_IMAGES`), in words; None where nothing.

    Every known image, and its mirror image, is compared with every given one: exact, and a chunk is small.

    Args:
        rows: sha256, phash and color_layout, null in failed rows.
        radius: bits of 64 in which the hashes may differ.
    """
    # Reversed, so that of equal images the first is named.
    places = {digest: row for row, digest in reversed(list(enumerate(known["sha256"].to_pylist())))}
    sources, views = known["source"].to_pylist(), _views(known)
    found: list[str | None] = []
    layouts = layouts_of(rows["color_layout"].to_pylist())
    for digest, phash, layout in zip(rows["sha256"].to_pylist(), rows["phash"].to_pylist(), layouts, strict=True):
        if digest in places:
            found.append(f"the bytes of {sources[places[digest]]}")
        else:
            likeness = (_likeness(phash, layout, view, sources, radius) for view in views)
            found.append(None if phash is None else next(filter(None, likeness), None))
    return found


@dataclass(frozen=True, slots=True)
class _View:
    """How the known images look, upright or mirrored."""

    words: str
    hashes: NDArray[np.uint64]
    layouts: Layouts


def _views(known: pa.Table) -> list[_View]:
    """Upright, and mirrored where that is known."""
    layouts = layouts_of(known["color_layout"].to_pylist())
    views = [_View("", known["phash"].to_numpy(), layouts)]
    if not known["phash_mirrored"].null_count:
        views.append(_View("mirrored ", known["phash_mirrored"].to_numpy(), mirrored(layouts)))
    return views


def _likeness(phash: int, layout: Layouts, view: _View, sources: Sequence[str], radius: int) -> str | None:
    bits = np.bitwise_count(view.hashes ^ np.uint64(phash))
    near = np.flatnonzero(bits <= radius)
    near = near[np.argsort(bits[near], kind="stable")]
    same = near[same_colors(np.tile(layout, (len(near), 1)), view.layouts[near], view.hashes[near])]
    return f"{bits[same[0]]} of 64 bits from {view.words}{sources[same[0]]}" if len(same) else None

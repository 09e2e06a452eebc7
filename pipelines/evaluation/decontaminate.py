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
    ]
)
"""The table evaluation.parquet."""

_ROWS: Final = 256


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
    leaks = find_leaks(rows["sha256"].to_pylist(), rows["phash"].to_pylist(), known, settings.eval_radius)
    failures = {row: RowFailure("decode", Reason.EVAL_LEAK, leak) for row, leak in enumerate(leaks) if leak is not None}
    return mark_failed(rows, failures)


def find_leaks(
    digests: Sequence[str | None], hashes: Sequence[int | None], known: pa.Table, radius: int
) -> list[str | None]:
    """What each image shows of `known` (`EVALUATION_IMAGES`), in words; None where nothing.

    Every known image is compared with every given one: exact, and a chunk is small.
    """
    places = {digest: row for row, digest in reversed(list(enumerate(known["sha256"].to_pylist())))}
    sources, pictures = known["source"].to_pylist(), known["phash"].to_numpy()
    found: list[str | None] = []
    for digest, phash in zip(digests, hashes, strict=True):
        if digest in places:
            found.append(f"the bytes of {sources[places[digest]]}")
        else:
            found.append(None if phash is None else _likeness(phash, pictures, sources, radius))
    return found


def _likeness(phash: int, pictures: NDArray[np.uint64], sources: Sequence[str], radius: int) -> str | None:
    bits = np.bitwise_count(pictures ^ np.uint64(phash))
    nearest = int(bits.argmin())
    return f"{bits[nearest]} of 64 bits from {sources[nearest]}" if bits[nearest] <= radius else None

"""Failing rows: how any stage turns a row of a chunk into a failure. No stage does it in another way."""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core.schema import Reason

KEPT_COLUMNS = frozenset({"uid", "source", "url", "texts"})
"""What a failed row keeps: where it came from. Its image, facts, pixels and candidates become null."""


class RowFailure(NamedTuple):
    """Why a row failed."""

    stage: str
    reason: str  # a value of `schema.Reason`; `retry_rows.KEPT` while a committed chunk is open again
    detail: str | None = None  # one short line


def mark_failed(rows: pa.Table, failures: Mapping[int, RowFailure]) -> pa.Table:
    """`rows` in which those at the given positions are failures.

    Args:
        rows: `schema.ROWS` and whatever further columns stages have added; these become null in the failed rows.
        failures: by position; a row that has failed already gets the new failure.
    """
    if not failures:
        return rows
    failed = pa.array([row in failures for row in range(rows.num_rows)])
    for index, field in enumerate(rows.schema):
        if field.name in KEPT_COLUMNS:
            continue
        new = pa.scalar(None, field.type)
        if field.name in RowFailure._fields:
            values = [getattr(failures[row], field.name) if row in failures else None for row in range(rows.num_rows)]
            new = pa.array(values, field.type)
        rows = rows.set_column(index, field, pc.if_else(failed, new, rows.column(index)))
    return rows


def mark_poison(rows: pa.Table, stage: str, poison: Mapping[int, str]) -> pa.Table:
    """`rows` in which those at these positions are failures of reason `poison`, the value of each as detail."""
    return mark_failed(rows, {row: RowFailure(stage, Reason.POISON, detail) for row, detail in poison.items()})

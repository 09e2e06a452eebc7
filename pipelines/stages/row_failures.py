"""Failing rows: how any stage turns a row of a chunk into a failure. No stage does it in another way."""

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core.schema import IMAGE_FACTS, Reason
from capfilt.core.secrets import redact

_OF_THE_IMAGE = frozenset({"image", "redirect_hosts", "candidates", *IMAGE_FACTS.names})
"""What a failed row loses, beside its `pixels:` columns: all that is made of its image."""


class RowFailure(NamedTuple):
    """Why a row failed."""

    stage: str
    reason: str  # a value of `schema.Reason`; `retry_rows.KEPT` while a committed chunk is open again
    detail: str | None = None  # one short line


def mark_failed(rows: pa.Table, failures: Mapping[int, RowFailure]) -> pa.Table:
    """`rows` in which those at the given positions are failures.

    Args:
        rows: `schema.ROWS` and whatever further columns stages have added. In the failed rows the image and all that
            was made of it (facts, pixels, candidates) become null; columns that no stage knows are left alone.
        failures: by position; a row that has failed already gets the new failure.
    """
    if not failures:
        return rows
    failed = pa.array([row in failures for row in range(rows.num_rows)])
    for index, field in enumerate(rows.schema):
        if field.name in RowFailure._fields:
            values = [getattr(failures[row], field.name) if row in failures else None for row in range(rows.num_rows)]
            new = pa.array(values, field.type)
        elif field.name in _OF_THE_IMAGE or field.name.startswith("pixels:"):
            # Columns of images and pixels are most of a chunk's bytes, and `if_else` copies: only where it must.
            if not pc.any(pc.and_(failed, rows.column(index).is_valid().combine_chunks())).as_py():
                continue
            new = pa.scalar(None, field.type)
        else:
            continue
        rows = rows.set_column(index, field, pc.if_else(failed, new, rows.column(index)))
    return rows


def mark_poison(rows: pa.Table, stage: str, poison: Mapping[int, str]) -> pa.Table:
    """`rows` in which those at these positions are failures of reason `poison`, the value of each as detail."""
    return mark_failed(rows, {row: RowFailure(stage, Reason.POISON, redact(detail)) for row, detail in poison.items()})

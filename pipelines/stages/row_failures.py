"""What every stage may do to the rows of a chunk: let some of them die."""

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core import schema


def bury(rows: pa.Table, dead: pa.Array, stage: str, reason: schema.Reason, detail: pa.Array | None = None) -> pa.Table:
    """`rows` in which those of `dead` (bool) have the given stage, reason and detail, and neither image nor facts.

    Args:
        rows: `schema.ROWS` and whatever further columns stages have added; these become null in the dead rows.
        detail: a string a row, used in the dead ones; None leaves them without.
    """
    if not pc.any(dead).as_py():
        return rows
    told = {"stage": pa.scalar(stage), "reason": pa.scalar(reason.value), "detail": detail}
    kept = {"uid", "source", "url", "texts"}
    for index, field in enumerate(rows.schema):
        if field.name not in kept:
            new = told.get(field.name)
            new = pa.scalar(None, field.type) if new is None else new.cast(field.type)
            rows = rows.set_column(index, field, pc.if_else(dead, new, rows.column(index)))
    return rows

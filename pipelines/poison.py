"""Rows that a model cannot take: failures like any other."""

from collections.abc import Mapping

import pyarrow as pa

from capfilt.schema import Reason


def bury(rows: pa.Table, stage: str, poison: Mapping[int, str]) -> pa.Table:
    """Make the rows at these positions failures of reason `poison`, the value of each as detail."""
    if not poison:
        return rows
    for name, values in (
        ("stage", dict.fromkeys(poison, stage)),
        ("reason", dict.fromkeys(poison, str(Reason.POISON))),
        ("detail", poison),
    ):
        column = [values.get(row, old) for row, old in enumerate(rows[name].to_pylist())]
        rows = rows.set_column(
            rows.schema.get_field_index(name), rows.schema.field(name), [pa.array(column, pa.string())]
        )
    return rows

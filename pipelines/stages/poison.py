"""Rows that a model cannot take: failures like any other."""

from collections.abc import Mapping

import pyarrow as pa

from capfilt.core.schema import Reason
from capfilt.pipelines.stages.row_failures import bury


def bury_poison(rows: pa.Table, stage: str, poison: Mapping[int, str]) -> pa.Table:
    """`rows` in which those at these positions are failures of reason `poison`, the value of each as detail."""
    details = pa.array((poison.get(row) for row in range(rows.num_rows)), pa.string())
    return bury(rows, details.is_valid(), stage, Reason.POISON, details)

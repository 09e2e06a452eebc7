"""The records of some rows of a table, in batches that fit the memory, up to a budget of bytes."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from capfilt.core.storage import split_url
from capfilt.pipelines.readers.columnar.table import DAMAGE, Table
from capfilt.pipelines.readers.columnar.values import records_in
from capfilt.pipelines.readers.files.failures import reason_of
from capfilt.pipelines.readers.files.open import is_local
from capfilt.pipelines.readers.rows.columns import Record

_SHRINK: Final = 256  # how much smaller a batch becomes that did not fit the memory

_NO_ROOM: Final = "takes more memory to read than input.memory allows"


class RecordsAt:
    """Reads rows once, in order, and remembers why one could not be read.

    Args:
        location: of the file; elsewhere than on a local disk an error may be the network's, and is raised.
        size: rows decoded at once, to begin with.
        budget: bytes of all values together; what comes behind them is lost, however few bytes packed it.
    """

    def __init__(self, table: Table, location: str, columns: Sequence[str], size: int, budget: int) -> None:
        self.found: dict[int, Record] = {}
        self.lost: dict[int, str] = {}
        self._table, self._columns, self._size = table, columns, size
        self._budget = self._left = budget
        self._is_local = is_local(split_url(location)[0])

    def read(self, wanted: Sequence[int]) -> None:
        """Read these rows, sorted; each is in `found` or in `lost` afterwards, or behind the end of the file."""
        begin = 0
        for group, rows in enumerate(self._table.groups):
            here = [row for row in wanted if begin <= row < begin + rows]
            if here:
                self._group(group, begin, here)
            begin += rows

    def _group(self, group: int, begin: int, wanted: Sequence[int]) -> None:
        size = self._size
        while left := self._missing(wanted):
            try:
                self._pass(group, begin, left, size)
            except MemoryError:
                if size == 1:  # and what stands behind it cannot be reached
                    self._lose(left, _NO_ROOM)
                size = max(1, size // _SHRINK)
            except DAMAGE as error:
                # Arrow reports a damaged page as an OSError without a number; elsewhere another try may help.
                if isinstance(error, OSError) and (error.errno or not self._is_local):
                    raise
                self._lose(left, reason_of(error))

    def _missing(self, wanted: Sequence[int]) -> list[int]:
        left = [row for row in wanted if row not in self.found and row not in self.lost]
        if self._left < 0:
            self._lose(left, f"unpacks to more than {self._budget:,} bytes; see input.chunk_rows")
            return []
        return left

    def _lose(self, rows: Sequence[int], why: str) -> None:
        self.lost |= {row: why for row in rows if row not in self.found}

    def _pass(self, group: int, begin: int, wanted: Sequence[int], size: int) -> None:
        for batch in self._table.batches(group, self._columns, size):
            end = begin + batch.num_rows
            if here := [row for row in wanted if begin <= row < end]:
                self._take(batch, begin, here, size)
            begin = end
            if end > wanted[-1] or self._left < 0:
                return

    def _take(self, batch: pa.RecordBatch, begin: int, rows: Sequence[int], size: int) -> None:
        first = rows[0] - begin
        try:
            # A slice, for Arrow cannot take single rows of a binary_view.
            records = records_in(batch.slice(first, rows[-1] - rows[0] + 1))
        except MemoryError:
            # `_group` tries again with smaller batches; a batch of one row is this row alone.
            if size > 1:
                raise
            return self._lose(rows, _NO_ROOM)
        for row in rows:
            record = records[row - rows[0]]
            self._left -= _bytes(record)
            if self._left < 0:
                return
            self.found[row] = record


def _bytes(value: Any) -> int:
    """About how many bytes a value is."""
    if isinstance(value, (bytes, str)):
        return len(value)
    if isinstance(value, (list, tuple)):
        return sum(map(_bytes, value)) + 8 * len(value)
    if isinstance(value, Mapping):
        return sum(map(_bytes, value.values()))
    return 8

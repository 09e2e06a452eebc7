"""What the columnar formats have in common: a schema, and groups of rows that can be read one by one."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import pyarrow as pa

DAMAGE: Final = (pa.ArrowException, ValueError, OSError)
"""What pyarrow raises over a damaged file; names that are not UTF-8 are a ValueError."""


@contextmanager
def memory_told() -> Iterator[None]:
    """A MemoryError and nothing else where pyarrow lacks memory: its own exception counts as `DAMAGE`, too."""
    try:
        yield
    except pa.ArrowMemoryError as error:
        raise MemoryError(str(error)) from error


class Table(ABC):
    """An open columnar file."""

    schema: pa.Schema
    groups: Sequence[int]  # rows of each group

    @property
    def rows(self) -> int:
        return sum(self.groups)

    def batches(self, group: int, columns: Sequence[str] | None, size: int) -> Iterator[pa.RecordBatch]:
        """The rows of a group in batches of at most `size` (more where the format cannot cut), all columns by default.

        Raises:
            DAMAGE: it cannot be decoded.
            MemoryError: it needs more than there is.
        """
        with memory_told():
            yield from self._batches(group, columns, size)

    @abstractmethod
    def _batches(self, group: int, columns: Sequence[str] | None, size: int) -> Iterator[pa.RecordBatch]:
        """`batches`, as the format gives them."""

    @abstractmethod
    def stored_bytes(self, group: int, column: str) -> int:
        """Bytes that a column takes in a group, about."""

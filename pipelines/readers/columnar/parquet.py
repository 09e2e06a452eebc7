"""Parquet, by its footer."""

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core.errors import InputError
from capfilt.core.storage import split_url
from capfilt.pipelines.readers.columnar.reader import ColumnarReader
from capfilt.pipelines.readers.columnar.table import DAMAGE, Table, memory_told
from capfilt.pipelines.readers.files.failures import reason_of

_FREE_ROWS: Final = 10_000_000  # that any file may declare: a column of one value takes no room
_STREAMED: Final = 1 << 20  # bytes read at once, so that a look at the first rows does not read a whole column


class ParquetTable(Table):
    """A Parquet file; its groups are its row groups.

    Raises:
        InputError: it is not there, no Parquet file, or declares rows that it cannot hold.
    """

    def __init__(self, location: str) -> None:
        filesystem, path = split_url(location)
        try:
            # pyarrow and not Ray Data's read_parquet: its V2 source starts actors that read footers for 3 to 13 s,
            # ignores override_num_blocks and made one block of 20 files.
            with memory_told():
                self._file = pq.ParquetFile(filesystem.open_input_file(path), buffer_size=_STREAMED)
                self.schema = self._file.schema_arrow
        except DAMAGE as error:
            raise InputError(f"{location}: {reason_of(error)}") from error
        metadata = self._file.metadata
        self.groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        size = metadata.serialized_size + _FREE_ROWS
        size += sum(max(0, metadata.row_group(group).total_byte_size) for group in range(len(self.groups)))
        if min(self.groups, default=0) < 0 or self.rows != metadata.num_rows or self.rows > size:
            raise InputError(f"{location}: its footer declares {metadata.num_rows} rows, which it cannot hold")

    def _batches(self, group: int, columns: Sequence[str] | None, size: int) -> Iterator[pa.RecordBatch]:
        yield from self._file.iter_batches(size, row_groups=[group], columns=None if columns is None else list(columns))

    def stored_bytes(self, group: int, column: str) -> int:
        found = self._file.metadata.row_group(group)
        leaves = [found.column(index) for index in range(found.num_columns)]
        return int(sum(leaf.total_compressed_size for leaf in leaves if leaf.path_in_schema.split(".")[0] == column))


class ParquetReader(ColumnarReader):
    """One row a row; row groups are found again from the footer."""

    name = "parquet"
    about = "Parquet with URLs, paths or image bytes (plain, Hugging Face struct, img2dataset's output)"
    suffixes = ("parquet", "pq")
    marks = (b"PAR1",)

    def open(self, location: str) -> Table:
        return ParquetTable(location)

"""ORC, by its stripes."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
from pyarrow import orc

from capfilt.core.errors import InputError
from capfilt.core.storage import split_url
from capfilt.pipelines.readers.columnar.reader import ColumnarReader
from capfilt.pipelines.readers.columnar.table import DAMAGE, Table, memory_told
from capfilt.pipelines.readers.files.failures import reason_of


class OrcTable(Table):
    """An ORC file; its groups are its stripes.

    Raises:
        InputError: it is not there or no ORC file.
    """

    def __init__(self, location: str) -> None:
        filesystem, path = split_url(location)
        try:
            with memory_told():
                self._file = orc.ORCFile(filesystem.open_input_file(path))
                self.schema, stripes = self._file.schema, range(self._file.nstripes)
                # pyarrow does not tell the rows of a stripe; reading its first column does.
                self.groups = [self._stripe(index, self.schema.names[:1]).num_rows for index in stripes]
            self._size = self._file.content_length
        except DAMAGE as error:
            raise InputError(f"{location}: {reason_of(error)}") from error

    def _batches(self, group: int, columns: Sequence[str] | None, size: int) -> Iterator[pa.RecordBatch]:
        stripe = self._stripe(group, columns)
        for begin in range(0, stripe.num_rows, size):
            yield stripe.slice(begin, size)

    def stored_bytes(self, group: int, column: str) -> int:
        return int(self._size) * self.groups[group] // max(self.rows, 1)

    def _stripe(self, index: int, columns: Sequence[str] | None) -> pa.RecordBatch:
        return self._file.read_stripe(index, columns=None if columns is None else list(columns))


class OrcReader(ColumnarReader):
    """One row a row."""

    name = "orc"
    about = "ORC with URLs, paths or image bytes"
    suffixes = ("orc",)
    marks = (b"ORC",)

    def open(self, location: str) -> Table:
        return OrcTable(location)

"""Arrow IPC files and streams: Feather, and what `datasets` writes with `save_to_disk`."""

from collections.abc import Iterator, Sequence
from itertools import islice

import pyarrow as pa

from capfilt.core.errors import InputError
from capfilt.core.storage import split_url
from capfilt.pipelines.readers.columnar.reader import ColumnarReader
from capfilt.pipelines.readers.columnar.table import DAMAGE, Table, memory_told
from capfilt.pipelines.readers.files.failures import reason_of
from capfilt.pipelines.readers.files.open import is_local

_FEATHER_1 = b"FEA1"


class ArrowTable(Table):
    """An IPC file or stream; its groups are its record batches.

    A stream has no index: to reach a batch, those before it are passed over, which costs nothing on a local disk.

    Raises:
        InputError: it is not there, no Arrow file, or the old Feather format.
    """

    def __init__(self, location: str) -> None:
        filesystem, path = split_url(location)
        try:
            self._source = pa.memory_map(path) if is_local(filesystem) else filesystem.open_input_file(path)
            if self._source.read(4) == _FEATHER_1:
                raise InputError(f"{location}: Feather version 1 is not read; write it as version 2 or Parquet")
            with memory_told():
                self._file = self._opened_file()
                self.schema = self._file.schema if self._file else self._stream().schema
                self.groups = [batch.num_rows for batch in self._all()]
        except DAMAGE as error:
            raise InputError(f"{location}: {reason_of(error)}") from error

    def _batches(self, group: int, columns: Sequence[str] | None, size: int) -> Iterator[pa.RecordBatch]:
        batch = self._file.get_batch(group) if self._file else next(islice(self._all(), group, None))
        batch = batch if columns is None else batch.select(list(columns))
        for begin in range(0, batch.num_rows, size):
            part = batch.slice(begin, size)
            _check(part)
            yield part

    def stored_bytes(self, group: int, column: str) -> int:
        try:
            return sum(batch.nbytes for batch in self.batches(group, [column], self.groups[group] or 1))
        except DAMAGE:
            return 0  # its rows will be failures

    def _opened_file(self) -> pa.RecordBatchFileReader | None:
        self._source.seek(0)
        # Of Arrow's two formats the one that tells where each batch is; the other, a stream, has no mark.
        is_file = self._source.read(6) == b"ARROW1"
        self._source.seek(0)
        return pa.ipc.open_file(self._source) if is_file else None

    def _stream(self) -> pa.RecordBatchStreamReader:
        self._source.seek(0)
        return pa.ipc.open_stream(self._source)

    def _all(self) -> Iterator[pa.RecordBatch]:
        if self._file is None:
            yield from self._stream()
            return
        for index in range(self._file.num_record_batches):
            yield self._file.get_batch(index)


def _check(batch: pa.RecordBatch) -> None:
    """Refuse values that point outside of their buffers: an IPC file is mapped as it is, nothing else looks at them.

    Strings that are not UTF-8 pass: their rows say so.

    Raises:
        ArrowInvalid: the batch is damaged.
    """
    for column in batch.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            # Arrow looks at the letters of an array last, but of a struct not at the fields behind that one.
            if "UTF8" not in str(error) or pa.types.is_struct(column.type):
                raise


class ArrowReader(ColumnarReader):
    """One row a row."""

    name = "arrow"
    about = "Arrow IPC and Feather 2, Hugging Face `save_to_disk` folders among them"
    suffixes = ("arrow", "feather", "ipc", "arrows")
    # A stream has no name at its start, only the mark that stands before each of its messages.
    marks = (b"ARROW1", b"\xff\xff\xff\xff")

    def open(self, location: str) -> Table:
        return ArrowTable(location)

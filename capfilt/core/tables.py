"""Reading the Parquet files of a run: every page is held against its checksum, and damage is an error of one line.

`serialization.parquet_bytes` writes a checksum with every page; pyarrow looks at them only when asked to. All that
reads a run's tables goes through here, so that a flipped bit is never copied, counted, shown or exported.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core.errors import IntegrityError
from capfilt.core.storage import Folder

if TYPE_CHECKING:
    import pyarrow.dataset as ds

# By words: pyarrow raises plain OSError for a page with a wrong checksum and for a full disk alike.
_DAMAGE: Final = (
    "CRC checksum",
    "Unexpected end of stream",
    "deserialize thrift",
    "Parquet magic bytes",
    "Parquet file size is",
    "orrupt",
    "ZSTD decompression failed",
)
"""What pyarrow says of bytes that are no longer those that were written; it raises OSError for some of them."""


def read_table(
    folder: Folder, name: str, *, columns: Sequence[str] | None = None, schema: pa.Schema | None = None
) -> pa.Table:
    """A file of the run as a table.

    Args:
        columns: only these; pages of others are not read.
        schema: the types that the caller wants; columns that an older version did not write are null.

    Raises:
        FileNotFoundError: it is not there.
        IntegrityError: its bytes are not those that were written.
    """
    with damage_named(f"{folder.location}/{name}"):
        # A whole file by `Folder.read`, which retries on an object store; some columns by pyarrow, which then fetches
        # only their pages.
        source = pa.BufferReader(folder.read(name)) if columns is None else folder.full(name)
        return pq.read_table(
            source,
            columns=None if columns is None else list(columns),
            schema=schema,
            filesystem=None if columns is None else folder.filesystem,
            page_checksum_verification=True,
        )


@contextmanager
def opened(folder: Folder, name: str) -> Iterator[pq.ParquetFile]:
    """A file of the run to read row groups or columns of.

    Raises:
        IntegrityError: its bytes are not those that were written; also while it is being read.
    """
    with damage_named(f"{folder.location}/{name}"):
        stream = folder.filesystem.open_input_file(folder.full(name))
        with stream, pq.ParquetFile(stream, page_checksum_verification=True) as file:
            yield file


def parquet_format() -> "ds.ParquetFileFormat":
    """The format of a dataset over files of a run; its scans check every page that they read."""
    import pyarrow.dataset as ds  # imports pandas, half a second that those who only plan need not pay

    return ds.ParquetFileFormat(
        default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    )


def read_schema(folder: Folder, name: str) -> pa.Schema:
    """The columns of a file of the run.

    Raises:
        IntegrityError: its footer is not what was written.
    """
    with opened(folder, name) as file:
        return file.schema_arrow


@contextmanager
def damage_named(file: str) -> Iterator[None]:
    """What pyarrow raises of damaged bytes becomes an `IntegrityError` that names the file and what to do."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        if not (isinstance(error, pa.ArrowInvalid) or is_damage(error)):
            raise
        raise IntegrityError(damaged(file, error)) from error


def is_damage(error: BaseException) -> bool:
    """Whether an error of pyarrow, or of DuckDB on top of it, says that a file is not what was written."""
    if isinstance(error, FileNotFoundError | PermissionError):
        return False
    return any(word in str(error) for word in _DAMAGE)


def damaged(file: str, error: BaseException) -> str:
    """One line: the file, what is wrong with it, and what to do."""
    why = " ".join(str(error).split())
    return f"{file} is damaged ({why[:160]}): `capfilt verify OUT` names all such files, --repair makes them again"

"""The Parquet files of a place, and one of them opened; what is wrong with one is a line that names it."""

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from capfilt.core.errors import InputError
from capfilt.core.storage import split_url


def parquet_files(location: str) -> list[str]:
    """The Parquet files of a place, in order, as paths that `split_url` takes.

    Raises:
        InputError: there are none, or one is none.
    """
    filesystem, path = split_url(location)
    try:
        found = ds.dataset(path, filesystem=filesystem, format="parquet", exclude_invalid_files=False).files
    except FileNotFoundError as error:
        raise InputError(f"{location}: no such file or folder") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{location}: {str(error).splitlines()[0]}") from error
    scheme = f"{location.partition('://')[0]}://" if "://" in location else ""
    return [f"{scheme}{file}" for file in sorted(found)]


def opened(file: str) -> pq.ParquetFile:
    """A Parquet file.

    Raises:
        InputError: it is none.
    """
    filesystem, path = split_url(file)
    try:
        return pq.ParquetFile(path, filesystem=filesystem, page_checksum_verification=True)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{file}: {str(error).splitlines()[0]}") from error

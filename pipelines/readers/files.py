"""Opening input files and the pictures beside them, on any file system pyarrow knows."""

import gzip
import io
import posixpath
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import pyarrow as pa
from pyarrow import fs as pafs

from capfilt.core.errors import InputError
from capfilt.core.schema import Reason
from capfilt.core.storage import patiently, split_url
from capfilt.pipelines.readers.base import MAX_IMAGE_BYTES, Broken, Lost
from capfilt.pipelines.readers.text import clean_line

GZIP_RATIO: Final = 200
GZIP_FREE: Final = 20_000_000
"""A packed list may unpack to `GZIP_RATIO` times its size (lists of URLs come to 20), and to so many bytes anyway."""

_LOCAL_BUFFER: Final = 1 << 16
_REMOTE_BUFFER: Final = 1 << 20  # one request a megabyte
_THREADS: Final = 8
_SAMPLED: Final = 64


def open_file(location: str) -> io.BufferedIOBase:
    """A seekable stream of the file's bytes, buffered, unpacked when its name ends in .gz.

    Reading it raises `Broken` where a packed file unpacks to absurdly many bytes.

    Raises:
        InputError: it is not there or may not be read.
    """
    filesystem, path = split_url(location)
    try:
        raw = filesystem.open_input_file(path)
        limit = max(GZIP_FREE, GZIP_RATIO * raw.size())
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{location}: {reason_of(error)}") from error
    stream = io.BufferedReader(raw, _LOCAL_BUFFER if is_local(filesystem) else _REMOTE_BUFFER)
    packed = location.split("?")[0].endswith(".gz")
    return io.BufferedReader(_Unpacked(stream, limit), _LOCAL_BUFFER) if packed else stream


class _Unpacked(io.RawIOBase):
    """What is in a gzip file, up to `limit` bytes."""

    def __init__(self, packed: io.BufferedReader, limit: int) -> None:
        self._file = gzip.GzipFile(fileobj=packed)
        self._limit = limit

    def readinto(self, buffer: Any) -> int:
        data = self._file.read1(len(buffer))
        if self._file.tell() > self._limit:
            raise Broken(f"unpacks to more than {self._limit} bytes")
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def reason_of(error: BaseException) -> str:
    """What went wrong in a few words, without the path that pyarrow repeats."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "permission denied"
    return " ".join(clean_line(str(error)).split())[:300] or type(error).__name__


def is_local(filesystem: pafs.FileSystem) -> bool:
    return isinstance(filesystem, pafs.LocalFileSystem)


class Neighbours:
    """Pictures that are named relative to a folder.

    A reference never leaves the folder, whatever it says: lists come from strangers. (Links inside the folder are
    the owner's and are followed.)
    """

    def __init__(self, folder: str) -> None:
        self.filesystem, path = split_url(folder)
        self.root = path if "://" in folder else folder  # as written, so that paths compare with those of a listing

    @classmethod
    def beside(cls, location: str) -> "Neighbours":
        """The pictures beside a list at `location`."""
        base, mark, query = location.partition("?") if "://" in location else (location, "", "")
        return cls(posixpath.dirname(base) + mark + query)

    def resolve(self, reference: str) -> str:
        """The path of `reference` on the file system.

        Raises:
            Lost: it leaves the folder.
        """
        path = posixpath.normpath(posixpath.join(self.root, reference))
        if not path.startswith(self.root.rstrip("/") + "/") or "\0" in path:
            raise Lost(Reason.MISSING_FILE, f"path leaves the folder of the list: {reference}")
        return path

    def read(self, reference: str) -> bytes:
        """All bytes of a picture.

        Raises:
            Lost: it is missing, cannot be read or is no file of a sensible size.
            OSError: an object store fails in another way; another try may help.
        """
        path = self.resolve(reference)
        try:
            info = self.filesystem.get_file_info(path)
            if info.type == pafs.FileType.File and info.size > MAX_IMAGE_BYTES:
                raise Lost(Reason.TOO_LARGE, f"{info.size} bytes: {reference}")
            if info.type != pafs.FileType.File:
                raise Lost(Reason.MISSING_FILE, f"no such file: {reference}")
            with self.filesystem.open_input_stream(path, compression=None) as stream:
                return bytes(stream.read())
        except (OSError, pa.ArrowInvalid) as error:
            if not is_local(self.filesystem) and not isinstance(error, FileNotFoundError):
                raise
            raise Lost(Reason.MISSING_FILE, f"cannot be read: {reference}") from error

    def read_all(self, references: Sequence[str | None]) -> list[bytes | Lost | None]:
        """`read` of each reference, several at once, a `Lost` in the place of a failed one."""
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(self._read_or_lost, references))

    def sizes(self, references: Sequence[str | None]) -> list[int]:
        """Bytes of each picture, 0 for one that is not there.

        On an object store, where each look is a request, the mean of the first ones stands for all.
        """
        if is_local(self.filesystem):
            return [self._size(reference) for reference in references]
        sample = [self._size(reference) for reference in references[:_SAMPLED]]
        return [sum(sample) // max(len(sample), 1)] * len(references)

    def _read_or_lost(self, reference: str | None) -> bytes | Lost | None:
        try:
            if reference is None:
                return None
            return patiently(lambda: self.read(reference), is_local(self.filesystem))
        except Lost as lost:
            return lost

    def _size(self, reference: str | None) -> int:
        try:
            info: Any = self.filesystem.get_file_info(self.resolve(reference)) if reference else None
        except (Lost, OSError, pa.ArrowInvalid):
            return 0
        return int(info.size or 0) if info is not None else 0

"""Opening input files on any file system pyarrow knows."""

import codecs
import io
from typing import Any, Final

import pyarrow as pa
from pyarrow import fs as pafs

from capfilt.core.errors import InputError
from capfilt.core.storage import split_url
from capfilt.pipelines.readers.files.failures import reason_of
from capfilt.pipelines.readers.files.packing import unpacked

_LOCAL_BUFFER: Final = 1 << 16
_REMOTE_BUFFER: Final = 1 << 20  # one request a megabyte
_SKIP: Final = 1 << 20


def open_file(location: str, encoding: str = "utf-8") -> io.BufferedReader:
    """A seekable stream of what is in the file, buffered, unpacked, and as UTF-8 whatever `encoding` it is in.

    Reading it raises one of `UNREADABLE` where the file breaks off or unpacks to absurdly many bytes.

    Raises:
        InputError: it is not there or may not be read.
    """
    filesystem, path = split_url(location)
    try:
        raw = filesystem.open_input_file(path)
        size = raw.size()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{location}: {reason_of(error)}") from error
    stream = unpacked(io.BufferedReader(raw, _LOCAL_BUFFER if is_local(filesystem) else _REMOTE_BUFFER), size)
    if encoding in ("utf-8", "utf-8-sig"):  # a mark at the start is taken off where the texts are decoded
        return stream
    return io.BufferedReader(_Recoded(stream, encoding), _LOCAL_BUFFER)


def read_head(location: str, size: int) -> bytes:
    """The first bytes as they stand on the disk; empty where it cannot be read."""
    filesystem, path = split_url(location)
    try:
        with filesystem.open_input_file(path) as stream:
            return bytes(stream.read(size))
    except (OSError, pa.ArrowInvalid):
        return b""


def is_local(filesystem: pafs.FileSystem) -> bool:
    return isinstance(filesystem, pafs.LocalFileSystem)


class _Recoded(io.RawIOBase):
    """UTF-8 of a file in another encoding; to seek back, it is decoded from the start again."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._stream, self._encoding = stream, encoding
        self._waiting, self._at, self._ended = b"", 0, False
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")

    def readinto(self, buffer: Any) -> int:
        while not self._waiting and not self._ended:
            data = self._stream.read(1 << 16)
            self._ended = not data
            self._waiting = self._decoder.decode(data, final=not data).encode("utf-8", "replace")
        size = min(len(buffer), len(self._waiting))
        buffer[:size], self._waiting = self._waiting[:size], self._waiting[size:]
        self._at += size
        return size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        target = offset + (self._at if whence == io.SEEK_CUR else 0)
        if target < self._at:
            self._stream.seek(0)
            self._waiting, self._at, self._ended = b"", 0, False
            self._decoder = codecs.getincrementaldecoder(self._encoding)("replace")
        while self._at < target and self.readinto(bytearray(min(_SKIP, target - self._at))):
            pass
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._stream.close()
        super().close()

"""Packed files (gzip, bzip2, xz, zstd), told by their first bytes and not by their names."""

import bz2
import gzip
import io
import lzma
import re
from collections.abc import Callable
from typing import Any, Final, cast

import pyarrow as pa

from capfilt.pipelines.readers.files.failures import Broken

RATIO: Final = 200
FREE: Final = 20_000_000
"""A packed file may unpack to `RATIO` times its size (lists of URLs come to 20), and to so many bytes anyway."""

_SUFFIX: Final = re.compile(r"\.(gz|gzip|bz2|xz|zst|zstd)$")
_SHORT: Final = {"tgz": "tar", "tbz": "tar", "tbz2": "tar", "txz": "tar", "tzst": "tar"}
_SKIP: Final = 1 << 20  # bytes unpacked at once on the way to a place


def _zstd(packed: io.BufferedReader) -> io.BufferedIOBase:
    # By pyarrow: Python's own library reads zstd from 3.14 on.
    return cast(io.BufferedIOBase, pa.CompressedInputStream(packed, "zstd"))


def _bzip2(packed: io.BufferedReader) -> io.BufferedIOBase:
    return cast(io.BufferedIOBase, bz2.BZ2File(packed))


def _gzip(packed: io.BufferedReader) -> io.BufferedIOBase:
    return cast(io.BufferedIOBase, gzip.GzipFile(fileobj=packed))


def _xz(packed: io.BufferedReader) -> io.BufferedIOBase:
    return cast(io.BufferedIOBase, lzma.LZMAFile(packed))


PACKINGS: Final[dict[bytes, Callable[[io.BufferedReader], io.BufferedIOBase]]] = {
    b"\x1f\x8b": _gzip,
    b"BZh": _bzip2,
    b"\xfd7zXZ\x00": _xz,
    b"\x28\xb5\x2f\xfd": _zstd,
}
"""First bytes -> what opens it."""


def data_suffix(name: str) -> str:
    """The suffix of what is packed, in lower case: `csv` of `a/B.CSV.gz`, `tar` of `c.tgz`; or empty."""
    base = _SUFFIX.sub("", name.rpartition("/")[2].lower())
    _, dot, suffix = base.rpartition(".")
    return _SHORT.get(suffix, suffix) if dot else ""


def unpacked(stream: io.BufferedReader, size: int) -> io.BufferedReader:
    """What is in a file of `size` bytes: the stream itself if it is not packed.

    Reading raises `Broken` where it unpacks to absurdly many bytes. To seek back, it is unpacked from the start again.
    """
    head = stream.peek(6)[:6]
    opener = next((opener for mark, opener in PACKINGS.items() if head.startswith(mark)), None)
    if opener is None:
        return stream
    return io.BufferedReader(_Unpacked(stream, opener, max(FREE, RATIO * size)), 1 << 16)


def is_packed(stream: io.BufferedIOBase) -> bool:
    """Whether a stream of `unpacked` had to be unpacked: then it is slow to seek, and its length is not known."""
    return isinstance(getattr(stream, "raw", None), _Unpacked)


class _Unpacked(io.RawIOBase):
    """What is in a packed file, up to `limit` bytes."""

    def __init__(
        self, packed: io.BufferedReader, opener: Callable[[io.BufferedReader], io.BufferedIOBase], limit: int
    ) -> None:
        self._packed, self._opener, self._limit = packed, opener, limit
        self._file, self._at = opener(packed), 0

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._file.read1(len(buffer)) or b""  # `read` would lose what stands before a damage
        except OSError as error:  # pyarrow and bz2 report damage as an OSError without a number
            raise error if error.errno else Broken(str(error)) from error
        self._at += len(data)
        if self._at > self._limit:
            raise Broken(f"unpacks to more than {self._limit} bytes")
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            while self._skip(_SKIP):
                pass
            return self._at
        target = offset + (self._at if whence == io.SEEK_CUR else 0)
        if target < self._at:
            self._packed.seek(0)
            self._file, self._at = self._opener(self._packed), 0
        while self._at < target and self._skip(min(_SKIP, target - self._at)):
            pass
        return self._at

    def tell(self) -> int:
        return self._at

    def _skip(self, size: int) -> int:
        return self.readinto(bytearray(size))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._packed.close()
        super().close()

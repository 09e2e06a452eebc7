"""`Content-Encoding`, undone within the byte cap.

Servers name encodings that nobody asked for (br, zstd), that do not exist (`UTF-8`, `binary`, `image/jpeg`), or that
the body does not have (a JPEG declared as gzip). So an unknown name says nothing, and a body that does not begin as its
encoding does is taken as it is.
"""

import sys
import zlib
from collections.abc import Callable
from typing import Final, Protocol

MAX_ENCODINGS: Final = 5
"""One upon the other, as curl allows; each costs the decoding of a whole body."""
MAX_MEMBERS: Final = 16
"""gzip members or zstd frames one after the other: what follows each is copied, so many small ones would take long."""


class BadEncoding(ValueError):
    """A body that breaks off, or is damaged, within its encoding. The message is one line."""


class _Stream(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


def decoded(body: bytes, header: str, limit: int) -> bytes:
    """The bytes behind the encodings that `header` lists; of a body beyond `limit` bytes, `limit` + 1 of them.

    Raises:
        BadEncoding: the body cannot be decoded to its end.
    """
    names = [name.strip().lower() for name in header.split(",")]
    undo = [_DECODERS[name] for name in reversed(names) if name in _DECODERS]
    if len(undo) > MAX_ENCODINGS:
        raise BadEncoding(f"more than {MAX_ENCODINGS} content encodings")
    for step in undo:
        body = step(body, limit)
        if len(body) > limit:
            break
    return body


def _gzip(body: bytes, limit: int) -> bytes:
    # 31 = 16 + MAX_WBITS: zlib then takes gzip's own header and nothing else.
    return _members(body, limit, "gzip", b"\x1f\x8b", lambda: zlib.decompressobj(31), zlib.error)


def _zstd(body: bytes, limit: int) -> bytes:
    if sys.version_info >= (3, 14):
        from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
    else:
        from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

    options: dict[int, int] = {DecompressionParameter.window_log_max: 23}  # 8 MB, all that RFC 9659 lets HTTP use
    return _members(body, limit, "zstd", b"\x28\xb5\x2f\xfd", lambda: ZstdDecompressor(options=options), ZstdError)


def _members(
    body: bytes, limit: int, name: str, magic: bytes, stream: Callable[[], _Stream], error: type[Exception]
) -> bytes:
    """Streams of one kind, one after the other."""
    if not body.startswith(magic):
        return body
    found = bytearray()
    for _ in range(MAX_MEMBERS):
        member = stream()
        try:
            found += member.decompress(body, limit + 1 - len(found))
        except error as failed:
            raise BadEncoding(f"a damaged {name} body") from failed
        if len(found) > limit:
            return bytes(found)
        if not member.eof:
            raise BadEncoding(f"a {name} body that breaks off")
        body = member.unused_data
        if not body.startswith(magic):  # what may follow the last one is padding
            return bytes(found)
    raise BadEncoding(f"a {name} body of more than {MAX_MEMBERS} parts")


def _deflate(body: bytes, limit: int) -> bytes:
    for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS):  # with zlib's header, as the standard says, or without
        stream = zlib.decompressobj(window)
        try:
            found = stream.decompress(body, limit + 1)
        except zlib.error:
            continue
        if len(found) <= limit and not stream.eof:
            raise BadEncoding("a deflate body that breaks off")
        return found
    return body


def _brotli(body: bytes, limit: int) -> bytes:
    import brotli

    stream = brotli.Decompressor()
    found = bytearray()
    try:
        found += stream.process(body, output_buffer_limit=limit + 1)
        # `process` stops at its limit and holds output back; as long as it does, it can accept no more data.
        while len(found) <= limit and not stream.is_finished() and not stream.can_accept_more_data():
            found += stream.process(b"", output_buffer_limit=limit + 1 - len(found))
    except brotli.error:  # brotli has no signature: whatever it cannot decode may be none
        return body
    if len(found) <= limit and not stream.is_finished():
        raise BadEncoding("a br body that breaks off")
    return bytes(found[: limit + 1])


_DECODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}

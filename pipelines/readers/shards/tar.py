"""Walking the headers of a tar file without reading what lies between them."""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from capfilt.pipelines.readers.files.failures import Broken
from capfilt.pipelines.readers.files.packing import is_packed

BLOCK: Final = tarfile.BLOCKSIZE
_MAX_EXTENDED: Final = 1 << 20  # bytes of a pax or long-name header

_ZEROS: Final = bytes(BLOCK)
# GNU's and POSIX's ways to write a name of more than 100 bytes: in a member of its own, before the one it is of.
_LONG_NAME = tarfile.GNUTYPE_LONGNAME
_PAX = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_OTHER_EXTENDED = (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE)
_WITHOUT_CONTENT = (
    tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file (or a link) of an archive; a hard link to a member before it is that file under another name."""

    name: str  # bytes that are not UTF-8 as surrogates
    data: int  # byte offset of its content; its header block stands right before
    size: int  # bytes
    link: str | None = None  # what a link points at; then there is no content


def members(stream: io.BufferedIOBase) -> Iterator[Member]:
    """The files of an archive in order; directories and devices are passed over.

    Several archives in one file (`cat a.tar b.tar`) are read through.

    Raises:
        Broken: the archive breaks off, or is none.
    """
    # tarfile ends in silence at a broken header behind the first member, and at the first end mark: what follows would
    # be lost without a word.
    length = None if is_packed(stream) else stream.seek(0, io.SEEK_END)  # to know it, all would have to be unpacked
    offset, ended = 0, False
    name: str | None = None
    size: int | None = None
    files: dict[str, Member] = {}
    while True:
        stream.seek(offset)
        block = stream.read(BLOCK)
        if not block:
            break
        info = _header(block, offset, ended)
        if info is None:
            offset, ended = offset + BLOCK, True
            continue
        if info is _JUNK:
            return
        data, info_size = offset + BLOCK, info.size if size is None else size
        is_member = info.isreg() or info.islnk() or info.issym()
        if (length is not None and data + info_size > length) or (is_member and not _reaches(stream, data + info_size)):
            raise Broken(f"breaks off inside {name or info.name!r}")
        # Contents are padded to whole blocks.
        offset = data + -(-info_size // BLOCK) * BLOCK
        if info.type == _LONG_NAME:
            name = _text(_content(stream, data, info_size))
        elif info.type in _PAX:
            name, size = _pax(_content(stream, data, info_size), name)
        elif info.type not in _OTHER_EXTENDED:
            if is_member:
                yield (member := _member(name or info.name, data, info_size, info, files))
                if member.link is None:
                    files[member.name] = member
            name = size = None
            ended = False
    if not ended:
        raise Broken("breaks off: no end-of-archive mark" if offset else "empty file")


def _member(name: str, data: int, size: int, info: tarfile.TarInfo, files: dict[str, Member]) -> Member:
    target = files.get(info.linkname) if info.islnk() else None
    if target is not None:
        return replace(target, name=name)
    return Member(name, data, size, None if info.isreg() else info.linkname)


_JUNK: Final = tarfile.TarInfo("junk behind the end of the archive")


def _reaches(stream: io.BufferedIOBase, end: int) -> bool:
    """Whether a packed file goes on up to `end`; of others the length is known."""
    return not is_packed(stream) or stream.seek(end) == end


def _header(block: bytes, offset: int, ended: bool) -> tarfile.TarInfo | None:
    """The header that is this block; None for an end mark, `_JUNK` for something else behind one."""
    if block == _ZEROS:
        return None
    try:
        return parse(block)
    except Broken as error:
        if ended:
            return _JUNK
        raise Broken(f"no tar header at byte {offset}: {error}") from error


def parse(block: bytes) -> tarfile.TarInfo:
    """A header block with a right checksum.

    Raises:
        Broken: it is none.
    """
    try:
        info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise Broken(str(error)) from error
    if info.size < 0:
        raise Broken("negative size")
    if info.type in _WITHOUT_CONTENT:
        info.size = 0  # whatever the field says
    return info


def _content(stream: io.BufferedIOBase, offset: int, size: int) -> bytes:
    if size > _MAX_EXTENDED:
        raise Broken(f"an extended header of {size} bytes")
    stream.seek(offset)
    return stream.read(size)


def _text(content: bytes) -> str:
    return content.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _pax(content: bytes, name: str | None) -> tuple[str | None, int | None]:
    """`path` and `size` of a pax header: records of `LENGTH KEY=VALUE\\n`, the length counting the whole record."""
    size: int | None = None
    while content.strip(b"\0"):
        digits, _, _ = content.partition(b" ")
        try:
            length = int(digits)
            key, _, value = content[len(digits) + 1 : length - 1].partition(b"=")
            name = value.decode("utf-8", "surrogateescape") if key == b"path" else name
            size = int(value) if key == b"size" else size
        except ValueError as error:
            raise Broken("a pax header that cannot be parsed") from error
        if length <= len(digits) or (size is not None and size < 0):
            raise Broken("a pax header that cannot be parsed")
        content = content[length:]
    return name, size

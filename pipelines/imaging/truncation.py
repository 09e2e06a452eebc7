"""Does a file break off? Told apart from other damage, because a download cut short is another fault than a bad file.

Pillow says so itself for most formats (a JPEG in draft mode included: the whole file is still read). Where it only
says "cannot decode", the file tells: it declares more bytes than there are.
"""

import io
import re
from collections.abc import Iterator, Mapping
from typing import Final

from PIL import Image

# The words of Pillow's readers for a file that ends too early; they have no exception of its own for that.
_SAID: Final = re.compile(r"truncat|\bEOF\b|not enough (image )?data|incomplete header|but only got", re.IGNORECASE)


class Watched(io.BytesIO):
    """A file in memory that notes when a read got fewer bytes than it asked for."""

    short = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.short |= size is not None and len(data) < size
        return data


def breaks_off(data: bytes, said: str, image: Image.Image | None, *, short: bool) -> bool:
    """Whether reading failed because the file ends too early.

    Args:
        data: the whole file.
        said: the message of Pillow's exception.
        image: the image, if its header could be read.
        short: whether reading the header ran into the end of the file.
    """
    if short or _SAID.search(said):
        return True
    return len(data) < max(_declared_ends(data, image), default=0)


def _declared_ends(data: bytes, image: Image.Image | None) -> Iterator[int]:
    """Where parts of the file end, by its own account."""
    if data[:4] == b"RIFF":
        yield 8 + int.from_bytes(data[4:8], "little")
    elif data[4:8] in (b"ftyp", b"jP  "):
        yield from _box_ends(data)
    elif data[:4] == b"\xff\x4f\xff\x51" and data[-2:] != b"\xff\xd9":  # a JPEG 2000 codestream ends with EOC
        yield len(data) + 1
    for offsets, lengths in ((273, 279), (324, 325)):  # TIFF strips, TIFF tiles
        tags = getattr(image, "tag_v2", {})
        for offset, length in zip(_numbers(tags, offsets), _numbers(tags, lengths), strict=False):
            yield offset + length


def _box_ends(data: bytes) -> Iterator[int]:
    """Ends of the top-level boxes of ISO media (AVIF) and JPEG 2000 files; size 1 = 64 bits follow, 0 = to the end."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:
            return
        at += size
        yield at


def _numbers(tags: Mapping[int, object], tag: int) -> tuple[int, ...]:
    try:
        value = tags.get(tag)
    except Exception:  # Pillow unpacks a tag when it is asked for, out of bytes that may be anything
        return ()
    values = value if isinstance(value, tuple) else (value,)
    return tuple(number for number in values if isinstance(number, int))

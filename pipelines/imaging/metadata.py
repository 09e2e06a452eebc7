"""What a file declares beside its first image: frames, and bytes of metadata. Read before Pillow opens it.

Pillow takes in all metadata as it opens a file (GIF comments in quadratic time), and asking it for the number of
frames decodes them. So the structure of the file is walked here, without looking into it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(slots=True)
class Burden:
    """What a file declares."""

    frames: int = 0
    metadata: int = 0  # bytes

    def over(self, max_frames: int, max_metadata: int) -> bool:
        """Whether there is more of anything; then the walk ends."""
        return self.frames > max_frames or self.metadata > max_metadata


def burden(data: bytes, format: str, max_frames: int, max_metadata: int) -> Burden:
    """Frames and metadata of a file, as far as needed to see whether they are too many.

    Metadata may come to more than the file has: the tags of a TIFF can all lie in the same place, and Pillow copies
    each of them.

    Args:
        format: Pillow's name; of formats that are not known here nothing is said.
    """
    found = Burden()
    for kind, size in _WALKS.get(format, _nothing)(data):
        if kind == "frame":
            found.frames += size
        else:
            found.metadata += min(size, len(data))  # what is declared beyond that is not there
        if found.over(max_frames, max_metadata):
            break
    return found


Item = tuple[Literal["frame", "metadata"], int]
"""So many frames, or so many bytes of metadata."""


def _nothing(_: bytes) -> Iterator[Item]:
    return iter(())


def _jpeg(data: bytes) -> Iterator[Item]:
    """APPn and COM segments up to the first scan."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        # Start of scan, end of image: only pixels come behind.
        if marker in (0xDA, 0xD9):
            return
        if marker == 0xFF:
            at += 1
        # No length follows these: TEM, restarts, start of image.
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            size = int.from_bytes(data[at + 2 : at + 4], "big")
            if 0xE0 <= marker <= 0xEF or marker == 0xFE:
                yield "metadata", size
            at += 2 + size


_PNG_METADATA: Final = frozenset({b"iCCP", b"tEXt", b"zTXt", b"iTXt", b"eXIf"})


def _png(data: bytes) -> Iterator[Item]:
    at = 8
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind in _PNG_METADATA:
            yield "metadata", size
        elif kind == b"acTL":
            yield "frame", int.from_bytes(data[at + 8 : at + 12], "big")
        at += 12 + size  # length, kind and checksum


def _webp(data: bytes) -> Iterator[Item]:
    at = 12
    while at + 8 <= len(data):
        kind, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if kind in (b"ICCP", b"EXIF", b"XMP "):
            yield "metadata", size
        elif kind == b"ANMF":
            yield "frame", 1
        at += 8 + size + size % 2  # padded to an even number of bytes


def _gif(data: bytes) -> Iterator[Item]:
    # Signature and screen descriptor.
    at = 13 + _color_table(data, 10)
    while at + 2 < len(data):
        if data[at] == 0x21:  # an extension
            end = _behind_blocks(data, at + 2)
            if data[at + 1] != 0xF9:  # graphic control, four bytes a frame
                yield "metadata", end - at
        elif data[at] == 0x2C:  # an image
            yield "frame", 1
            # Its descriptor, a color table of its own, and the byte that LZW starts with.
            end = _behind_blocks(data, at + 11 + _color_table(data, at + 9))
        else:
            return
        at = end


def _color_table(data: bytes, at: int) -> int:
    """Bytes of the color table that the flags at `at` declare."""
    flags = data[at] if at < len(data) else 0
    # 2 ** (n + 1) colors of three bytes, for the n of the lowest three bits.
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _behind_blocks(data: bytes, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    return at + 1


_TIFF_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8}
"""Bytes of a value by its type."""

_TIFF_PIXELS: Final = frozenset({273, 279, 324, 325, 320, 347})
"""Where pixels are, palette and JPEG tables; all other tags count as metadata."""


def _tiff(data: bytes) -> Iterator[Item]:
    """Pages, and the bytes that their tags declare. A chain of pages that bites its tail ends there."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    # 43 in place of 42: BigTIFF, with 64-bit offsets.
    big = data[2:4] in (b"+\0", b"\0+")
    width, entry = (8, 20) if big else (4, 12)

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    at, seen = number(8 if big else 4, width), set[int]()
    while at and at not in seen and at < len(data):
        seen.add(at)
        yield "frame", 1
        first, count = at + (8 if big else 2), number(at, 8 if big else 2)
        for tag in range(first, min(first + entry * count, len(data)), entry):
            if number(tag, 2) not in _TIFF_PIXELS:
                yield "metadata", _TIFF_SIZES.get(number(tag + 2, 2), 1) * number(tag + 4, width)
        at = number(first + entry * count, width)


def _boxes(data: bytes) -> Iterator[Item]:
    """AVIF: the `meta` box, which also holds the color profile."""
    at = 0
    while at + 8 <= len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if size == 1:  # 64 bits of it follow
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if kind == b"meta":
            yield "metadata", size
        if size < 8:
            return
        at += size


_WALKS: Final[dict[str, Callable[[bytes], Iterator[Item]]]] = {
    "JPEG": _jpeg, "MPO": _jpeg, "PNG": _png, "WEBP": _webp, "GIF": _gif, "TIFF": _tiff, "AVIF": _boxes,
}  # fmt: skip

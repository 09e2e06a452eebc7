"""Files that every loader decodes to the pixels that captioner and judges saw.

Loaders differ: many take the first channels of what is transparent, show a turned photo lying, clip 16 bits, or know
three formats. A plain file is one about which they agree: JPEG, PNG or WebP, upright, one frame, 8-bit gray or RGB.
"""

import io
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal

from PIL import ImageFile

from capfilt.core.config import DecodeSettings
from capfilt.pipelines.imaging.image_file import BadImage, exif_orientation, load_image, read_header
from capfilt.pipelines.imaging.pillow import pillow_rules, signatures

Suffix = Literal["jpg", "png"]

PlainFile = tuple[str, bytes] | None
"""Suffix and bytes of a re-encoded file; None for one that is plain already."""

_SUFFIXES: Final = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
"""The plain formats. An MPO is a JPEG with further images behind it, which readers of JPEG pass over."""
_MODES: Final = ("RGB", "L", "1", "P")  # 8-bit color, gray, black and white, and palettes of these
# The chunk, and the keywords of texts, in which a PNG may carry EXIF, and with it an orientation.
_PNG_EXIF: Final = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_PNG_DEPTH: Final = 24  # where the header has the bits a channel

THREADS: Final = 4  # files at once: full size, 8 bytes a pixel while it works

LIMITS: Final = DecodeSettings(max_pixels=1_000_000_000, min_side=1, max_frames=10**9, max_metadata=10**12)
"""These images were let in once already."""


def is_surely_plain(data: bytes, suffix: Suffix | None = None) -> bool:
    """Whether a JPEG or PNG is plain by its header, which Python code reads: no codec sees the bytes.

    False where only a codec could tell.
    """
    names = signatures(data[:16])
    if not names or names[0] not in ("JPEG", "PNG") or (names[0] == "PNG" and _may_be_turned(data)):
        return False
    try:
        file = read_header(data, LIMITS)
        return suffix in (None, _SUFFIXES.get(str(file.format))) and _is_plain(file, data)
    except BadImage:
        return False


def plain_file(data: bytes, suffix: Suffix | None = None) -> PlainFile:
    """The suffix and bytes of a plain file of the image in `data`, without loss but for "jpg"; None if `data` is one.

    A JPEG is written with quality 100 and all of its color, within 3 of 255 of the image.

    Args:
        suffix: the format wanted; None for any plain one.

    Raises:
        BadImage: `data` cannot be decoded.
    """
    file = read_header(data, LIMITS)
    if _is_plain(file, data) and suffix in (None, _SUFFIXES[str(file.format)]):
        return None
    picture = load_image(file, data, LIMITS, LIMITS.max_pixels).image
    sink = io.BytesIO()
    if suffix == "jpg":
        picture.save(sink, "JPEG", quality=100, subsampling=0)
    else:
        picture.save(sink, "PNG")
    return suffix or "png", sink.getvalue()


# From the header alone: whether a file is plain is asked for every image when corpus/ or an export is written, and old
# runs have no column that says it.
def _is_plain(file: ImageFile.ImageFile, data: bytes) -> bool:
    return (
        file.format in _SUFFIXES
        and file.mode in _MODES
        and not file.has_transparency_data
        and (file.format == "MPO" or not getattr(file, "is_animated", False))
        and not (file.format == "PNG" and data[_PNG_DEPTH] > 8)
        and _is_upright(file, data)
    )


def _is_upright(file: ImageFile.ImageFile, data: bytes) -> bool:
    if file.format == "PNG" and _may_be_turned(data):
        file.load()  # it may stand behind the pixels
    return exif_orientation(file) == 1


def _may_be_turned(png: bytes) -> bool:
    return any(name in png for name in _PNG_EXIF)


def plain_files(
    rows: Iterable[int],
    image: Callable[[int], bytes],
    suffix: Suffix | None,
    threads: int | None,
    *,
    busy: Callable[[int, bool], None],
    tell: Callable[[int, PlainFile | BadImage], None],
) -> None:
    """`plain_file` of the files of rows; for the arguments see `decode_images`."""

    def make(row: int) -> None:
        data = image(row)
        busy(row, True)
        try:
            made: PlainFile | BadImage = plain_file(data, suffix)
        except BadImage as bad:
            made = bad
        tell(row, made)

    with pillow_rules(LIMITS.max_pixels), ThreadPoolExecutor(threads or THREADS) as pool:
        for _ in pool.map(make, rows):
            pass

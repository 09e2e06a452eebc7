"""The bytes of a file -> an upright RGB image, or the reason why there is none.

Two steps, because the size decides whether and when the second may happen: `read_header` decodes nothing,
`load_image` takes 8 bytes a pixel while it works, for WebP 16.
"""

import re
from dataclasses import dataclass
from typing import Final

from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from capfilt.core.config import DecodeSettings
from capfilt.core.schema import Reason
from capfilt.pipelines.imaging.color import to_rgb
from capfilt.pipelines.imaging.metadata import burden
from capfilt.pipelines.imaging.pillow import UNSIGNED, installed, signatures
from capfilt.pipelines.imaging.scans import MAX_SCANS, too_many_scans
from capfilt.pipelines.imaging.signatures import HEAD, unread_format, why_unread
from capfilt.pipelines.imaging.truncation import Watched, breaks_off

_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation -> what makes the image upright; 5 to 8 swap width and height."""

_UNSUPPORTED: Final = re.compile(r"unsupported|unimplemented|not implemented", re.IGNORECASE)
"""How Pillow begins when a file may well be sound, but it has no code for this variant."""

_TILE_WIDTH, _TILE_LENGTH = 322, 323  # TIFF tags


class BadImage(Exception):
    """The bytes are no image we can use. `detail` is one printable line of at most 200 characters."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason, self.detail = reason, _one_line(detail)
        super().__init__(f"{reason}: {self.detail}")


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """An upright RGB image. `image` may be smaller than `width` x `height`: a JPEG is decoded at a lower scale."""

    image: Image.Image
    width: int
    height: int
    format: str
    orientation: int  # of EXIF, 1 = it was upright


def read_header(data: bytes, settings: DecodeSettings) -> ImageFile.ImageFile:
    """Find format and size without decoding.

    Raises:
        BadImage: zero bytes, no image, a broken header, too many pixels, or too small.
    """
    if not data:
        raise BadImage(Reason.EMPTY, "zero bytes")
    if unread := unread_format(data[:HEAD]):
        raise BadImage(Reason.UNSUPPORTED, why_unread(unread))
    names = signatures(data[:16])
    if names:
        _check_burden(data, names[0], settings)
    stream = Watched(data)
    try:
        file = Image.open(stream, formats=names or installed(UNSIGNED))
        _check(file, data, settings)
    except BadImage:
        raise
    except Exception as error:  # anything, for the reason given in load_image
        if not names and not isinstance(error, Image.DecompressionBombError):
            raise BadImage(Reason.NOT_AN_IMAGE, f"no image signature, begins with {data[:24]!r}") from error
        raise _verdict(data, error, None, name=names[0] if names else "", short=stream.short) from error
    return file


def load_image(file: ImageFile.ImageFile, data: bytes, settings: DecodeSettings, side: int) -> DecodedImage:
    """Decode the first frame; a JPEG at the lowest scale whose shorter side still has `side` pixels.

    Raises:
        BadImage: the file breaks off or cannot be decoded.
    """
    name = str(file.format)
    full = file.size
    short = isinstance(file.fp, Watched) and file.fp.short
    try:
        file.draft(None, (side, side))
        scaled = file.size != full
        file.load()
        full = full if scaled else file.size  # an icon or a TIFF may turn out otherwise than its directory says
        image = to_rgb(file, name)
        orientation = exif_orientation(file)
        upright = image.transpose(_TURNS[orientation]) if orientation in _TURNS else image
    except Exception as error:
        # Anything: a file is hostile input, and Pillow answers it with OSError, SyntaxError, struct.error, KeyError,
        # ZeroDivisionError, MemoryError and more. One bad file must not end a run, so while Pillow reads a file, and
        # only then, every exception becomes the reason of its row.
        raise _verdict(data, error, file, name=name, short=short) from error
    width, height = reversed(full) if orientation >= 5 else full
    _check_size(width, height, settings)
    return DecodedImage(upright, width, height, name.lower(), orientation)


def _check_burden(data: bytes, name: str, settings: DecodeSettings) -> None:
    found = burden(data, name, settings.max_frames, settings.max_metadata)
    if found.metadata > settings.max_metadata:
        detail = f"{name}: {found.metadata} bytes and more; decode.max_metadata is {settings.max_metadata}"
        raise BadImage(Reason.TOO_MUCH_METADATA, detail)
    if found.frames > settings.max_frames:
        raise BadImage(Reason.TOO_MANY_FRAMES, f"{name}: decode.max_frames is {settings.max_frames}")


def _check(file: ImageFile.ImageFile, data: bytes, settings: DecodeSettings) -> None:
    _check_size(*file.size, settings)
    tags = getattr(file, "tag_v2", {})
    if _TILE_WIDTH in tags and _TILE_LENGTH in tags:  # a tile is decoded as a whole, and may exceed its image
        _check_cap(int(tags[_TILE_WIDTH]), int(tags[_TILE_LENGTH]), settings)
    if file.format in ("JPEG", "MPO") and too_many_scans(data):
        raise BadImage(Reason.CORRUPT, f"{file.format}: more than {MAX_SCANS} scans")


def _check_size(width: int, height: int, settings: DecodeSettings) -> None:
    _check_cap(width, height, settings)
    if min(width, height) < settings.min_side:
        raise BadImage(Reason.TOO_SMALL, f"{width} x {height} pixels; decode.min_side is {settings.min_side}")


def _check_cap(width: int, height: int, settings: DecodeSettings) -> None:
    if width * height > settings.max_pixels:
        raise BadImage(Reason.TOO_MANY_PIXELS, f"{width} x {height} pixels; decode.max_pixels is {settings.max_pixels}")


def exif_orientation(file: ImageFile.ImageFile) -> int:
    """The EXIF orientation of a loaded image, 1 (upright) where there is none.

    Not before loading: a PNG may keep EXIF behind its pixels, and a TIFF is turned by Pillow, which then reports 1.
    """
    try:
        value = file.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # EXIF is hostile input too, and broken EXIF does not spoil the pixels
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _verdict(data: bytes, error: Exception, file: Image.Image | None, *, name: str, short: bool) -> BadImage:
    said = _words(error)
    if isinstance(error, Image.DecompressionBombError | MemoryError):
        reason = Reason.TOO_MANY_PIXELS
    elif isinstance(error, NotImplementedError) or _UNSUPPORTED.match(said):
        reason = Reason.UNSUPPORTED
    elif breaks_off(data, said, file, short=short):
        reason = Reason.TRUNCATED
    else:
        reason = Reason.CORRUPT
    return BadImage(reason, f"{name} of {len(data)} bytes: {said}")


def _words(error: Exception) -> str:
    """What Pillow said; its text about an unknown file holds a memory address, which would differ from run to run."""
    if isinstance(error, UnidentifiedImageError):
        return "the header cannot be read"
    return str(error).partition(", could be decompression bomb")[0] or type(error).__name__


def _one_line(text: str) -> str:
    """Printable ASCII only, no memory addresses, at most 200 characters."""
    plain = re.sub(r"\b0x[0-9a-fA-F]{6,}\b", "0x...", text).encode("ascii", "backslashreplace").decode()
    return " ".join(re.sub(r"[^ -~]", " ", plain).split())[:200]

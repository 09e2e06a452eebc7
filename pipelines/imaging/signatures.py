"""What a file is by its first bytes, formats included that need a plug-in or that nothing here reads."""

import re
from typing import Final

from capfilt.pipelines.imaging.pillow import signatures

HEAD: Final = 1024
"""Bytes of a file that are looked at."""

# Brands behind `ftyp`. AVIF has the same container and others, and Pillow reads it by itself.
_HEIF: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
_JXL: Final = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \x0d\x0a\x87\x0a")  # a bare codestream, and one in a container
_SVG: Final = re.compile(
    rb"^(?:\xef\xbb\xbf)?\s*(?:<\?xml[^>]*>\s*|<!--.*?-->\s*|<!DOCTYPE svg[^>]*>\s*)*<svg[\s>]", re.DOTALL
)

_NAMES: Final = {
    "HEIF": "HEIF (HEIC) is not supported; install capfilt[heif]",
    "JXL": "JPEG XL is not supported; install capfilt[jxl]",
    "SVG": "SVG is a drawing, not an image of pixels; it is not supported",
}


def unread_format(head: bytes) -> str | None:
    """The name of an image format that Pillow does not read by itself, given a file's first kilobyte."""
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF:
        return None if signatures(head[:16]) else "HEIF"
    if head.startswith(_JXL):
        return None if signatures(head[:16]) else "JXL"
    return "SVG" if _SVG.match(head[:HEAD]) else None


def why_unread(name: str) -> str:
    """One line for people."""
    return _NAMES[name]


def looks_like_an_image(head: bytes) -> bool:
    """Whether a file begins like an image, of a format that is read or not."""
    return bool(signatures(head[:16])) or unread_format(head) is not None

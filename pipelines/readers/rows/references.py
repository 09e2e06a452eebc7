"""What a value says about an image: a URL, a path, or the image itself as base64 or a `data:` URL."""

import ast
import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from capfilt.pipelines.readers.text.hygiene import MISSING
from capfilt.pipelines.readers.text.texts import decode, parsed_text

IMAGE_EXTENSIONS: Final = frozenset(
    {
        "jpg",
        "jpeg",
        "jpe",
        "jfif",
        "png",
        "apng",
        "webp",
        "gif",
        "bmp",
        "dib",
        "tif",
        "tiff",
        "avif",
        "ppm",
        "pgm",
        "jp2",
    }
    | {"j2k", "heic", "heif", "hif", "jxl", "svg", "ico", "tga", "dds", "psd", "qoi"}
)
"""Suffixes of images, those included that cannot be read: a row that says so is better than none."""

PICTURE: Final = re.compile(rf"\.({'|'.join(sorted(IMAGE_EXTENSIONS))})(#\d+)?$", re.IGNORECASE)
"""The end of an image's path; Flickr8k numbers the captions of one image with `#0`, `#1`, ..."""

_NUMBER: Final = re.compile(r"(?<=\.)(\w{2,5})#\d+$")
_LOCAL: Final = re.compile(r"(?:/(?!/)|\.{1,2}/|~/|file:|[A-Za-z]:[\\/]|\\\\)")
_WEB: Final = re.compile(r"https?:", re.IGNORECASE)  # a mistyped URL too: it fails as one, not as a missing file
_DATA: Final = re.compile(r"data:(?:image/[\w.+-]*|application/octet-stream)?(;[^,]*)?,", re.IGNORECASE)
_BASE64: Final = re.compile(
    r"(?:[/_]9j[/_]|iVBORw0KGgo|R0lGOD|UklGR|Qk[0-3]|SUkqA|TU0AK|AAAA[\w+/]{2}Z0eX)[\w+/=\s-]{24,}"
)
"""Base64 of an image, in either alphabet: how JPEG, PNG, GIF, WebP, BMP, TIFF and AVIF or HEIC begin."""

_HEX: Final = re.compile(
    r"(?:\\x|0x)?((?:ffd8ff|89504e47|47494638|52494646|49492a00|4d4d002a)(?:[0-9a-f]{2}){64,})", re.I
)
"""The same in hexadecimal, as dumps of databases write bytes."""

_LITERAL: Final = re.compile(rf"b(?:'|\")(?:\\xff\\xd8|\\x89PNG|GIF8|RIFF|{_BASE64.pattern})")
"""The bytes of an image, or their base64, as Python's `str` writes bytes: `b'\\xff\\xd8...'`."""

_WRAPPED: Final = re.compile(r"""<(\w+://[^<>\s]+)>|"(\w+://[^"\s]+)"|'(\w+://[^'\s]+)'""")
"""A URL in the brackets or quotes of a text around it, which can be no part of it."""

_FIELDS: Final = ("bytes", "base64", "b64", "data", "url", "src", "path", "file_name", "filename")
"""The fields of an object that stands in the place of a reference, likeliest first."""


class Several(ValueError):
    """A sample has more than one image: which of them its texts are about cannot be told."""

    def __init__(self, count: int, names: str = "", paths: Sequence[str] = ()) -> None:
        self.paths = paths
        super().__init__(f"{count} images in one sample, expected one{f': {names}' if names else ''}"[:300])


def references_of(value: Any) -> list[str | bytes]:
    """Every reference in a value, images as their bytes; what stands for nothing is left out.

    Raises:
        ValueError: base64 that cannot be decoded.
    """
    if isinstance(value, str):
        text = value.strip()
        listed = parsed_text(text) if text[:1] in ("[", "{") else None
        if listed is not None:
            return references_of(listed)
        if wrapped := _WRAPPED.fullmatch(text):
            return references_of(wrapped[wrapped.lastindex or 0])
        picture = embedded(text)
        return [picture] if picture is not None else [text] if text and text not in MISSING else []
    if isinstance(value, bytes):
        return references_of(decode(value))
    if isinstance(value, (list, tuple)):
        return [one for element in value for one in references_of(element)]
    if isinstance(value, Mapping):
        return next((found for name in _FIELDS if (found := references_of(value.get(name)))), [])
    return []


def is_path(reference: str, in_url_column: bool) -> bool:
    """Whether a reference is a path: it has no `://`, and in a column of URLs it looks like nothing else."""
    if reference.lower().startswith("file:"):
        return True
    if "://" in reference or _WEB.match(reference) or (in_url_column and reference.startswith("//")):
        return False
    if not in_url_column or _LOCAL.match(reference):
        return True
    # `images/a.jpg` and `a.jpg` are paths; `example.org/a.jpg` is a URL that lacks its scheme.
    return bool(PICTURE.search(reference)) and "." not in reference.partition("/")[0].removesuffix(reference)


def is_reference(value: Any) -> bool:
    """Whether a value is a URL, the path of an image, or an image, and nothing else."""
    if isinstance(value, (list, tuple, Mapping)):
        return any(is_reference(one) for one in references_of(value))
    if not isinstance(value, str):
        return isinstance(value, bytes)
    text = value.strip()
    if "://" in text:
        return bool(re.fullmatch(r"\w+://[^\s|\x00-\x1f]+", text))
    return (bool(PICTURE.search(text)) and not re.search(r"[\t|;,]|\s\s", text)) or is_embedded(text)


def names_a_picture(value: Any) -> bool:
    """Whether a value is a reference that ends like an image, but for the query of a URL, or an image itself."""
    if not is_reference(value) or not isinstance(value, str):
        return False
    return bool(PICTURE.search(value.strip().partition("?")[0])) or is_embedded(value.strip())


def path_named(reference: str) -> str:
    """The path without what is not of it: `file://`, and the number of a caption behind `.jpg`."""
    path = re.sub(r"^file:(?://(?:localhost)?)?", "", reference, flags=re.IGNORECASE)
    return _NUMBER.sub(r"\1", path) if PICTURE.search(path) else path


def is_embedded(text: str) -> bool:
    """Whether a string is a `data:` URL, or the base64, the hexadecimal digits or Python's spelling of an image."""
    return bool(_DATA.match(text) or _BASE64.match(text) or _HEX.fullmatch(text) or _LITERAL.match(text))


def embedded(text: str) -> bytes | None:
    """The image that a `data:` URL, base64, hexadecimal digits or Python's `b'...'` spell; None for anything else.

    Raises:
        ValueError: it cannot be decoded.
    """
    found = _DATA.match(text)
    if found:
        content = text[found.end() :]
        return _unbase64(content) if ";base64" in (found[1] or "").lower() else unquote_to_bytes(content)
    if digits := _HEX.fullmatch(text):
        return bytes.fromhex(digits[1])
    if _LITERAL.match(text):
        spelled = _unliteral(text)
        return _unbase64(spelled.decode()) if spelled.isascii() else spelled
    return _unbase64(text) if _BASE64.match(text) else None


def _unliteral(text: str) -> bytes:
    try:
        content = ast.literal_eval(text)
    except (SyntaxError, MemoryError) as error:
        raise ValueError(f"bytes that cannot be decoded: {error}") from error
    if not isinstance(content, bytes):
        raise ValueError("bytes that cannot be decoded")
    return content


def _unbase64(text: str) -> bytes:
    # The alphabet for URLs is read as well, and so is what lacks its padding.
    compact = re.sub(r"\s", "", text).translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"base64 that cannot be decoded: {error}") from error

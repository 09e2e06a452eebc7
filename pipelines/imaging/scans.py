"""How many scans a JPEG asks for.

A scan of 150 bytes may cover a whole image, which takes 60 ms at 100 megapixels: a file of 32 MB could cost hours.
"""

from typing import Final

MAX_SCANS: Final = 100
"""Encoders write about 10, the most elaborate scan scripts about 60."""

_SCAN: Final = 0xDA
_NO_SEGMENT: Final = frozenset({0x00, 0x01, 0xFF, *range(0xD0, 0xD8)})  # stuffing, fill bytes, restart markers
_END: Final = 0xD9


def too_many_scans(data: bytes) -> bool:
    """Whether a JPEG has more than `MAX_SCANS` scans.

    Bytes that look like one also stand in thumbnails and in films appended by phones, so a high count alone proves
    nothing: then the segments are walked through up to the end of the image.
    """
    return data.count(b"\xff\xda") > MAX_SCANS and _count_scans(data) > MAX_SCANS


def _count_scans(data: bytes) -> int:
    scans, at = 0, 2
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 3 and scans <= MAX_SCANS:
        marker = data[at + 1]
        if marker == _END:
            break
        scans += marker == _SCAN
        # The length of a segment counts its own two bytes, but not those of the marker.
        at += 1 if marker in _NO_SEGMENT else 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return scans

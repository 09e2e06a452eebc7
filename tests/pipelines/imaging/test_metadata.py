"""Metadata and frames are counted from the structure of a file, before anything is taken in."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin, features

from capfilt.pipelines.imaging.metadata import _WALKS, burden
from decoding import decode_one
from pictures import encoded
from waiting import at_most_cpu

PROFILE = bytes(range(256)) * 200  # 51,200 bytes
NO_LIMIT = 1 << 60


def told(size: int) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * size)
    return info


def count(data: bytes) -> tuple[int, int]:
    found = burden(data, str(Image.open(io.BytesIO(data)).format), NO_LIMIT, NO_LIMIT)
    return found.frames, found.metadata


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {"icc_profile": PROFILE}),
        ("JPEG", {"comment": b"x" * 60_000}),
        ("PNG", {"icc_profile": PROFILE, "pnginfo": told(55_000)}),
        ("PNG", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0" + bytes(60_000)}),
        ("WEBP", {"icc_profile": PROFILE}),
        ("WEBP", {"xmp": b"x" * 60_000}),
        ("GIF", {"comment": b"x" * 60_000}),
        ("TIFF", {"icc_profile": PROFILE}),
        ("TIFF", {"description": "x" * 60_000}),
        ("AVIF", {"icc_profile": PROFILE}),
    ],
)
def test_metadata_is_counted_and_capped(
    format: str,
    options: dict[str, Any],
) -> None:
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    plain = encoded(Image.new("RGB", (40, 30)), format)
    heavy = encoded(Image.new("RGB", (40, 30)), format, **options)
    added = len(heavy) - len(plain)
    counted = count(heavy)[1] - count(plain)[1]
    assert 0.9 * added <= counted <= 1.1 * added
    assert decode_one(heavy)["reason"] is None
    row = decode_one(heavy, max_metadata=40_000 if added > 40_000 else added // 2)
    assert row["reason"] == "too_much_metadata"
    assert row["detail"].startswith(format)
    assert "decode.max_metadata is " in row["detail"]


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_frames_are_counted_and_capped(
    format: str,
) -> None:
    frames = [Image.new("RGB", (9, 9), (n * 20, 0, 0)) for n in range(7)]
    film = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    assert count(film)[0] == 7
    assert decode_one(film, max_frames=7)["reason"] is None
    row = decode_one(film, max_frames=6)
    assert (row["reason"], row["detail"]) == ("too_many_frames", f"{format}: decode.max_frames is 6")


def gif_of_comments(size: int) -> bytes:
    block = b"\xff" + b"c" * 255
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0, 0, 0)
    return head + b"!\xfe" + block * (size // 256) + b"\0" + b",\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


def png_of_texts(count: int) -> bytes:
    """Each text unpacks to a megabyte."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    text = chunk(b"zTXt", b"key\0\0" + zlib.compress(b"x" * 1_000_000))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + text * count + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")


def tiff(*pages: bytes) -> bytes:
    return b"II*\0\x08\0\0\0" + b"".join(pages)


DESCRIPTION = b"\x0e\1\2\0\xff\xff\xff\xff\x08\0\0\0"  # a text of four gigabytes

BOMBS = {
    "comments that Pillow joins one by one": (gif_of_comments(24_000_000), {"too_much_metadata"}),
    "many texts": (png_of_texts(20_000), {"too_much_metadata"}),
    "texts that unpack to 100 MB": (png_of_texts(100), {"corrupt"}),
    "a tag of 4 GB": (tiff(b"\1\0", DESCRIPTION, bytes(8)), {"corrupt", "truncated"}),
    "a thousand tags at one place": (tiff(b"\xe8\x03", DESCRIPTION * 1000, bytes(100_000)), {"too_much_metadata"}),
    "pages that bite their tail": (tiff(b"\0\0\x08\0\0\0"), {"corrupt", "truncated"}),
    "pages that are not there": (b"II*\0\xff\xff\xff\xff", {"corrupt", "truncated"}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs_of_metadata_are_quick_reasons(name: str) -> None:
    data, reasons = BOMBS[name]
    with at_most_cpu(seconds=5):
        row = decode_one(data)
    assert row["reason"] in reasons, row["detail"]


@given(
    st.sampled_from(sorted(_WALKS)),
    st.binary(max_size=300),
    st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0+", b"", b"\xff\xd8"]),
)
def test_no_structure_breaks_the_walk(format: str, data: bytes, head: bytes) -> None:
    burden(head + data, format, NO_LIMIT, NO_LIMIT)


def test_no_photo_is_refused(shared_data: Path) -> None:
    photos = list((shared_data / "photos").rglob("*.jpg"))
    heaviest = max(count(path.read_bytes())[1] for path in photos)
    assert len(photos) > 100
    assert heaviest < 1_000_000

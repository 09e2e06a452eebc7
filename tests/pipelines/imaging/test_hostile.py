"""Nothing a file contains ends the run: it becomes a picture or a reason that a person understands."""

import io
import re
import resource
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile, features

from capfilt.core.config import DecodeSettings
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.stages.decode import decode
from decoding import decode_one, rows_of
from pictures import encoded
from waiting import at_most_cpu

PRINTABLE = re.compile(r"[ -~]{1,200}")


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """300 x 200 with structure everywhere, so that every part of a file carries some of it."""
    y, x = np.mgrid[0:200, 0:300]
    return Image.fromarray(np.stack([x * 255 // 300, y * 255 // 200, x * y % 256], -1).astype(np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds hardly any pixels."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"", "empty", "zero bytes"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not_an_image", "<!DOCTYPE html>"),
        (b"just text\n" * 50, "not_an_image", "no image signature"),
        (b'{"error": "rate limited"}', "not_an_image", "rate limited"),
        (b"\x00", "not_an_image", "no image signature"),
        (bytes(5000), "not_an_image", "no image signature"),
        (b"%PDF-1.7\n" + bytes(500), "not_an_image", "%PDF-1.7"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "not_an_image", "%!PS-Adobe-3.0"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported", "SVG"),
        (
            b"<?xml version='1.0'?>\n<!-- made by hand -->\n<svg xmlns='http://www.w3.org/2000/svg'/>",
            "unsupported",
            "SVG",
        ),
        (b"\xd7\xcd\xc6\x9a\0\0" + bytes(500), "not_an_image", "no image signature"),
        (b"\xff\xd8\xff", "truncated", "JPEG of 3 bytes"),
        (b"\x89PNG\r\n\x1a\n", "truncated", "PNG of 8 bytes"),
        (b"GIF89a", "truncated", "GIF of 6 bytes"),
    ],
)
def test_what_is_no_picture(data: bytes, reason: str, detail: str) -> None:
    row = decode_one(data)
    assert (row["stage"], row["reason"]) == ("decode", reason), row["detail"]
    assert detail in row["detail"]
    assert PRINTABLE.fullmatch(row["detail"])


def fits_header(**cards: object) -> bytes:
    """A FITS file of nothing but its header, in blocks of 2,880 bytes."""
    lines = [f"{name:<8}= {value:>20}".ljust(80) for name, value in cards.items()]
    return "".join([*lines, "END".ljust(80)]).encode().ljust(2880)


@pytest.mark.parametrize(
    "data",
    [
        fits_header(SIMPLE="T", BITPIX=8, NAXIS=2, NAXIS1=40_000, NAXIS2=40_000),
        fits_header(SIMPLE="T", BITPIX=8, NAXIS=0)
        + fits_header(XTENSION="'BINTABLE'", ZIMAGE="T", ZCMPTYPE="'GZIP_1  '", ZNAXIS1=40_000, ZNAXIS2=40_000),
        b"\x00\x00\x01\xb3" + b"\xff" * 60,  # MPEG, 4095 x 4095
        b"\x89HDF\r\n\x1a\n" + bytes(60),
        b"GRIB" + b"\xff" * 60,
        b"BUFR" + bytes(60),
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600),  # FPX, MIC
    ],
    ids=["FITS", "packed FITS", "MPEG", "HDF5", "GRIB", "BUFR", "OLE"],
)
def test_formats_that_nobody_trains_on_are_not_opened(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """2 MB of FITS took 4.2 GB. Pillow would open each of these by its own lights."""
    monkeypatch.setattr("PIL.FitsImagePlugin.FitsImageFile._open", lambda _: pytest.fail("it was opened"))
    assert decode_one(data)["reason"] == "not_an_image"


def test_null_image_is_empty() -> None:
    assert decode(rows_of(None), DecodeSettings())["reason"].to_pylist() == ["empty"]


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = png_header(30_000, 30_000)
    assert len(bomb) < 100
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with at_most_cpu(seconds=2):
        row = decode_one(bomb)
    kilobyte = 1024 if sys.platform == "darwin" else 1
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / kilobyte < 50_000
    assert row["reason"] == "too_many_pixels"
    assert "900000000" in row["detail"]


def tiled_tiff(width_type: int = 4, width: int = 20_000) -> bytes:
    """64 x 64 pixels, in one deflated tile of `width` x 20,000; type 4 is a 32-bit number, type 2 a text."""
    tile = zlib.compress(bytes(1000))
    tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: width, 323: 20_000, 324: 134, 325: len(tile)}
    types = dict.fromkeys(tags, 4) | {322: width_type}
    entries = b"".join(struct.pack("<HHII", tag, types[tag], 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + tile


def icon_around(png: bytes) -> bytes:
    return struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 64, 64, 0, 0, 1, 32, len(png), 22) + png


def apple_icon_around(png: bytes) -> bytes:
    return b"icns" + struct.pack(">I", len(png) + 16) + b"ic07" + struct.pack(">I", len(png) + 8) + png


def jpeg_declaring(width: int, height: int) -> bytes:
    jpeg = bytearray(encoded(Image.new("RGB", (16, 16)), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(jpeg)


def webp_declaring(width: int, height: int) -> bytes:
    webp = bytearray(encoded(Image.new("RGBA", (16, 16), (1, 2, 3, 4)), "WEBP"))
    assert webp[12:16] == b"VP8X"
    webp[24:30] = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return bytes(webp)


BOMBS: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: jpeg_declaring(30_000, 30_000),
    "gif": lambda: b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + encoded(Image.new("P", (4, 4)), "GIF")[10:],
    "bmp": lambda: (
        encoded(Image.new("RGB", (4, 4)), "BMP")[:18] + struct.pack("<iiHH", 30_000, 30_000, 1, 24) + bytes(64)
    ),
    "webp": lambda: webp_declaring(16_000, 16_000),
    "tiff": lambda: encoded(Image.new("L", (64, 64)), "TIFF", tiffinfo={256: 30_000, 257: 30_000}),
    "tiff tile": lambda: tiled_tiff(),
    "ico": lambda: icon_around(png_header(11_000, 11_000)),
    "icns": lambda: apple_icon_around(png_header(11_000, 11_000)),
    "ppm": lambda: b"P6 30000 30000 255\n" + bytes(100),
    "qoi": lambda: b"qoif" + struct.pack(">II", 30_000, 30_000) + b"\3\0" + bytes(100),
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_format_gets_past_the_cap(
    name: str,
) -> None:
    bomb = BOMBS[name]()
    with at_most_cpu(seconds=2):
        row = decode_one(bomb)
    assert row["reason"] == "too_many_pixels", row["detail"]


@pytest.mark.parametrize("type_", range(1, 14))
def test_a_tile_size_of_another_type(type_: int) -> None:
    assert decode_one(tiled_tiff(type_, 0x41424344))["reason"] in ("too_many_pixels", "corrupt", "truncated")


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
@pytest.mark.parametrize("cap", [2999, 3000, 3001])
def test_the_cap_is_exact(
    cap: int,
    format: str,
) -> None:
    row = decode_one(encoded(Image.new("RGB", (60, 50)), format), max_pixels=cap)
    assert row["reason"] == ("too_many_pixels" if cap < 3000 else None)


@pytest.mark.parametrize(("size", "reason"), [((31, 99), "too_small"), ((99, 31), "too_small"), ((32, 32), None)])
def test_the_shorter_side(
    size: tuple[int, int],
    reason: str | None,
) -> None:
    row = decode_one(encoded(Image.new("RGB", size), "PNG"), min_side=32)
    assert row["reason"] == reason
    if reason:
        assert row["detail"] == f"{size[0]} x {size[1]} pixels; decode.min_side is 32"


def test_the_size_is_judged_before_the_pixels() -> None:
    no_pixels = png_header(200, 300)
    assert decode_one(no_pixels)["reason"] == "truncated"
    assert decode_one(no_pixels, min_side=201)["reason"] == "too_small"
    assert decode_one(no_pixels, max_pixels=59_999)["reason"] == "too_many_pixels"


ENCODINGS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("GIF", {}),
    ("AVIF", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "jpeg"}),
    ("JPEG2000", {}),
    ("PPM", {}),
]


@pytest.mark.parametrize(("format", "options"), ENCODINGS)
def test_a_file_that_breaks_off(
    format: str,
    options: dict[str, Any],
    photo: Image.Image,
) -> None:
    if format == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    whole = encoded(photo, format, **options)
    ends = [20, 60, *(len(whole) * part // 10 for part in range(1, 10)), len(whole) - 40]
    rows = decode(rows_of(*(whole[:end] for end in ends)), DecodeSettings(), [PixelSpec(16)])
    assert list(zip(ends, rows["reason"].to_pylist(), strict=True)) == [(end, "truncated") for end in ends]
    assert all(PRINTABLE.fullmatch(detail) for detail in rows["detail"].to_pylist())


@pytest.mark.parametrize("progressive", [False, True])
def test_a_reduced_scale_still_reads_the_whole_jpeg(
    progressive: bool,
    photo: Image.Image,
) -> None:
    jpeg = encoded(photo.resize((2400, 1600)), "JPEG", progressive=progressive)
    assert decode_one(jpeg, 16)["reason"] is None
    assert decode_one(jpeg[: len(jpeg) * 98 // 100], 16)["reason"] == "truncated"


def test_damage_inside_is_corrupt(
    photo: Image.Image,
) -> None:
    png = bytearray(encoded(photo, "PNG"))
    middle = len(png) // 2
    png[middle : middle + 200] = bytes(200)
    assert decode_one(bytes(png))["reason"] == "corrupt"


def test_more_scans_than_any_encoder_writes() -> None:
    jpeg = encoded(Image.new("L", (400, 400), 255), "JPEG", progressive=True)
    last = jpeg.rindex(b"\xff\xda")
    scan, body = jpeg[last:-2], jpeg[:-2]
    assert decode_one(body + 80 * scan + b"\xff\xd9")["reason"] is None
    row = decode_one(body + 100 * scan + b"\xff\xd9")
    assert (row["reason"], row["detail"]) == ("corrupt", "JPEG: more than 100 scans")
    after_the_end = decode_one(jpeg + 200 * scan)  # as a film that a phone appends
    assert after_the_end["reason"] is None


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "ICO", "PSD"])
def test_flipped_bytes_are_a_picture_or_a_reason(
    format: str,
    photo: Image.Image,
) -> None:
    whole = _layered(photo) if format == "PSD" else encoded(photo.resize((48, 32)), format)
    random = np.random.default_rng(7)
    files = []
    for _ in range(60):
        file = bytearray(whole)
        for at in random.integers(0, min(len(file), 400), 4):
            file[at] = random.integers(0, 256)
        files.append(bytes(file))
    rows = decode(rows_of(*files), DecodeSettings(max_pixels=1_000_000), [PixelSpec(8)])
    for row in rows.to_pylist():
        assert (row["reason"] is None) == (row["sha256"] is not None) == (row["image"] is not None)
        assert row["reason"] is None or PRINTABLE.fullmatch(row["detail"])
    again = decode(rows_of(*files), DecodeSettings(max_pixels=1_000_000), [PixelSpec(8)])
    assert rows.equals(again)


def _layered(photo: Image.Image) -> bytes:
    """A Photoshop file without layers: header, three empty sections, raw planes."""
    small = np.asarray(photo.resize((48, 32)))
    header = struct.pack(">4sH6sHIIHH", b"8BPS", 1, bytes(6), 3, 32, 48, 8, 3)
    return header + bytes(12) + b"\0\0" + small.transpose(2, 0, 1).tobytes()


def test_details_hold_no_memory_addresses() -> None:
    flat = png_header(0, 5)
    row = decode_one(flat)
    assert (row["reason"], row["detail"]) == ("corrupt", f"PNG of {len(flat)} bytes: the header cannot be read")


def test_a_warning_of_pillow_is_no_damage() -> None:
    png = encoded(Image.new("RGB", (8, 8), "red"), "PNG")
    no_frames = b"acTL" + bytes(8)  # an animation of no frames: Pillow warns and shows the still
    chunk = struct.pack(">I", 8) + no_frames + struct.pack(">I", zlib.crc32(no_frames))
    with pytest.warns(UserWarning, match="Invalid APNG"):
        Image.open(io.BytesIO(png[:33] + chunk + png[33:])).load()
    assert decode_one(png[:33] + chunk + png[33:], 8)["reason"] is None


def test_switches_of_pillow_are_ours_only_for_the_time(
    monkeypatch: pytest.MonkeyPatch,
    photo: Image.Image,
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 123)
    jpeg = encoded(photo, "JPEG")
    assert decode_one(jpeg)["reason"] is None
    assert decode_one(jpeg[:-3000])["reason"] == "truncated"
    assert (ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS) == (True, 123)

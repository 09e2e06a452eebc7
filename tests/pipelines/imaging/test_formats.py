"""Every format and mode comes out as the picture a person would see."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from capfilt.pipelines.imaging import color
from capfilt.pipelines.imaging.color import to_rgb
from decoding import decode_one
from pictures import encoded

Color = tuple[int, int, int]

RED, GREEN, BLUE, GREY, WHITE, BLACK = (
    (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128), (255, 255, 255), (0, 0, 0)
)  # fmt: skip

FORMATS: list[tuple[str, dict[str, Any], str, int]] = [  # Pillow's name, options, our name, tolerance
    ("JPEG", {"quality": 95, "subsampling": 0}, "jpeg", 6),
    ("JPEG", {"quality": 95, "subsampling": 0, "progressive": True}, "jpeg", 6),
    ("MPO", {"quality": 95, "subsampling": 0, "save_all": True, "append_images": [Image.new("RGB", (9, 9))]}, "mpo", 6),
    ("PNG", {}, "png", 0),
    ("WEBP", {"lossless": True}, "webp", 0),
    ("WEBP", {"quality": 95}, "webp", 40),
    ("GIF", {}, "gif", 0),
    ("TIFF", {}, "tiff", 0),
    ("TIFF", {"compression": "tiff_lzw"}, "tiff", 0),
    ("TIFF", {"compression": "jpeg", "quality": 95}, "tiff", 6),
    ("BMP", {}, "bmp", 0),
    ("AVIF", {"quality": 95, "subsampling": "4:4:4"}, "avif", 12),
    ("ICO", {"sizes": [(96, 64)]}, "ico", 0),
    ("ICO", {"sizes": [(96, 64)], "bitmap_format": "bmp"}, "ico", 0),
    ("PPM", {}, "ppm", 0),
    ("JPEG2000", {}, "jpeg2000", 0),
    ("TGA", {}, "tga", 0),
    ("PCX", {}, "pcx", 0),
    ("SGI", {}, "sgi", 0),
    ("DDS", {}, "dds", 0),
]

CODECS = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}


def _skip_without_codec(format: str) -> None:
    if format in CODECS and not features.check(CODECS[format]):
        pytest.skip(f"this Pillow has no {format}")


def corners(row: dict[str, Any]) -> list[Color]:
    """The middles of the four quarters: top left, top right, bottom left, bottom right."""
    pixels = row["pixels"]
    size = len(pixels)
    near, far = size // 4, size - 1 - size // 4
    return [tuple(int(v) for v in pixels[y, x]) for y in (near, far) for x in (near, far)]  # type: ignore[misc]


@pytest.mark.parametrize(("format", "options", "name", "tolerance"), FORMATS)
def test_quarters_survive_every_format(
    format: str,
    options: dict[str, Any],
    name: str,
    tolerance: int,
    quarters: Image.Image,
) -> None:
    _skip_without_codec(format)
    row = decode_one(encoded(quarters, format, **options), 32)
    assert row["reason"] is None, row["detail"]
    assert (row["format"], row["width"], row["height"]) == (name, 96, 64)
    assert np.abs(np.subtract(corners(row), [RED, GREEN, BLUE, GREY])).max() <= tolerance, corners(row)


def test_icns_is_read(quarters: Image.Image) -> None:
    row = decode_one(encoded(quarters.resize((128, 128)), "ICNS", sizes=[(128, 128)]), 32)
    assert row["format"] == "icns"
    assert corners(row) == [RED, GREEN, BLUE, GREY]


def test_cursor_is_read(quarters: Image.Image) -> None:
    icon = bytearray(encoded(quarters.resize((32, 32), 0), "ICO", sizes=[(32, 32)], bitmap_format="bmp"))
    icon[2], icon[10:14] = 2, bytes(4)  # a cursor is an icon with a hot spot
    row = decode_one(bytes(icon), 32)
    assert row["format"] == "cur"
    assert corners(row) == [RED, GREEN, BLUE, GREY]


MODES = ["1", "L", "LA", "P", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "I;16", "I;16B", "I", "F"]


@pytest.mark.parametrize("mode", MODES)
def test_modes_of_tiff_keep_light_and_dark(
    mode: str,
) -> None:
    half = Image.new("RGB", (64, 64), "white")
    half.paste("black", (32, 0, 64, 64))
    grey = half.convert("L")
    scale = {"I;16": 257, "I;16B": 257, "I": 257, "F": 1 / 255}.get(mode)
    if scale is None:
        image = half.convert(mode)
    else:
        values = np.asarray(grey, np.float64) * scale
        types = {"I;16": "<u2", "I;16B": ">u2", "I": "<i4", "F": "<f4"}
        image = Image.frombytes(mode, grey.size, values.astype(types[mode]).tobytes())
    row = decode_one(encoded(image, "TIFF"), 32)
    assert row["reason"] is None, row["detail"]
    left, right = row["pixels"][:, :12], row["pixels"][:, 20:]
    assert left.min() >= 253
    assert right.max() <= 2


@pytest.mark.parametrize(
    ("type_", "top", "format"),
    [("<u2", 65535, "PNG"), ("<u2", 65535, "TIFF"), ("<u2", 4095, "TIFF"), ("<i4", 65535, "TIFF"), ("<f4", 1, "TIFF")],
)
def test_deep_grey_is_a_straight_line(
    type_: str,
    top: int,
    format: str,
) -> None:
    ramp = np.tile(np.linspace(0, top, 256), (256, 1)).astype(type_)
    row = decode_one(encoded(Image.fromarray(ramp), format), 256)
    assert row["reason"] is None, row["detail"]
    assert np.abs(row["pixels"][128, :, 0].astype(int) - np.arange(256)).max() <= 1


@pytest.mark.parametrize("values", [[-5.0, 0.0, 5.0], [0.0, 500.0, 1000.0], [-9.0, -8.0, -7.0], [-1e38, 1e38, 3e38]])
def test_floats_beyond_one_span_their_own_range(
    values: list[float],
) -> None:
    stripes = np.repeat(np.array([values], np.float32), 30, axis=0).repeat(10, axis=1)
    row = decode_one(encoded(Image.fromarray(stripes), "TIFF"), 30)
    dark, middle, light = row["pixels"][15, [5, 15, 25], 0].tolist()
    assert dark < middle < light == 255


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -3.0, 1e-42])
def test_strange_floats_are_a_picture(
    value: float,
) -> None:
    row = decode_one(encoded(Image.fromarray(np.full((8, 8), value, np.float32)), "TIFF"), 8)
    assert row["reason"] is None, row["detail"]


def test_pfm_and_dark_16_bit_pgm() -> None:
    floats = decode_one(encoded(Image.fromarray(np.full((8, 8), 0.5, np.float32)), "PPM"), 8)
    assert np.abs(floats["pixels"].astype(int) - 128).max() <= 1
    dark = b"P5 8 8 65535\n" + np.full(64, 200, ">u2").tobytes()
    assert decode_one(dark, 8)["pixels"].max() <= 1


def test_white_is_zero_in_16_bit_tiff() -> None:
    zeros = Image.fromarray(np.zeros((8, 8), np.uint16))
    assert decode_one(encoded(zeros, "TIFF"), 8)["pixels"].max() == 0
    assert decode_one(encoded(zeros, "TIFF", tiffinfo={262: 0}), 8)["pixels"].min() == 255


@pytest.mark.parametrize("mode", ["LA", "CMYK", "I;16"])
def test_a_picture_of_many_bands_has_no_seams(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp = Image.fromarray(np.tile(np.arange(0, 60_000, 200).astype(np.uint16)[:, None], (1, 50)))
    image = ramp if mode == "I;16" else Image.linear_gradient("L").convert(mode)
    at_once = to_rgb(image, "TIFF")
    monkeypatch.setattr(color, "_BAND", 700)
    assert to_rgb(image, "TIFF").tobytes() == at_once.tobytes()


def test_cmyk_jpeg_with_the_inversion_of_adobe(quarters: Image.Image) -> None:
    file = encoded(quarters.convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in file
    assert np.abs(np.subtract(corners(decode_one(file, 32)), [RED, GREEN, BLUE, GREY])).max() <= 6


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "ICO"])
def test_transparent_is_white_and_half_is_half(
    format: str,
) -> None:
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    image.paste((0, 0, 255, 128), (32, 0, 64, 64))
    every: dict[str, dict[str, Any]] = {"WEBP": {"lossless": True, "exact": True}, "ICO": {"sizes": [(64, 64)]}}
    row = decode_one(encoded(image, format, **every.get(format, {})), 32)
    assert row["pixels"][16, 4].tolist() == [255, 255, 255]
    assert row["pixels"][16, 28].tolist() == [127, 127, 255]


def test_grey_with_alpha_lies_on_white() -> None:
    row = decode_one(encoded(Image.new("LA", (16, 16), (0, 64)), "PNG"), 8)
    assert (row["pixels"] == 191).all()


@pytest.mark.parametrize(
    ("image", "transparency", "expected"),
    [
        (Image.new("P", (8, 8), 3), 3, WHITE),
        (Image.new("P", (8, 8), 3), bytes([255, 255, 255, 0]), WHITE),
        (Image.new("P", (8, 8), 0), bytes([255, 255, 255, 0]), BLACK),
        (Image.new("L", (8, 8), 7), 7, WHITE),
        (Image.new("L", (8, 8), 8), 7, (8, 8, 8)),
        (Image.new("1", (8, 8), 0), 0, WHITE),
        (Image.new("RGB", (8, 8), (1, 2, 3)), (1, 2, 3), WHITE),
        (Image.new("RGB", (8, 8), (1, 2, 4)), (1, 2, 3), (1, 2, 4)),
        (Image.fromarray(np.full((8, 8), 300, np.uint16)), 300, WHITE),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else str(value),
)
def test_png_transparency(
    image: Image.Image,
    transparency: int | bytes | Color,
    expected: Color,
) -> None:
    if image.mode == "P":
        image.putpalette([0, 0, 0, 10, 10, 10, 20, 20, 20, 30, 30, 30])
    row = decode_one(encoded(image, "PNG", transparency=transparency), 8)
    assert (row["pixels"] == expected).all()


TURNS = {  # what a camera does to an upright picture, so that the tag makes it upright again
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_exif_orientation(orientation: int, format: str, quarters: Image.Image) -> None:
    _skip_without_codec(format)
    turn = TURNS[orientation]
    stored = quarters.resize((960, 640), 0)  # big enough for a JPEG to be decoded at a reduced scale
    stored = stored if turn is None else stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    row = decode_one(encoded(stored, format, exif=exif), 32)
    assert (row["width"], row["height"]) == (960, 640)
    assert np.abs(np.subtract(corners(row), [RED, GREEN, BLUE, GREY])).max() <= 8


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0MM\0*\xff\xff\xff\xff"]
)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_spoil_a_picture(exif: bytes, format: str, quarters: Image.Image) -> None:
    row = decode_one(encoded(quarters, format, exif=exif), 32)
    assert (row["reason"], row["width"], row["height"]) == (None, 96, 64)


def test_an_orientation_that_does_not_exist_changes_nothing(quarters: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    row = decode_one(encoded(quarters, "JPEG", exif=exif), 32)
    assert (row["width"], row["height"]) == (96, 64)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(
    format: str,
) -> None:
    frames = [Image.new("RGB", (40, 30), color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    options = {"lossless": True} if format == "WEBP" else {}
    row = decode_one(encoded(frames[0], format, save_all=True, append_images=frames[1:], **options), 8)
    assert (row["width"], row["height"]) == (40, 30)
    assert (row["pixels"] == RED).all()


def test_the_size_is_that_of_the_full_picture() -> None:
    row = decode_one(encoded(Image.new("RGB", (2003, 1501), "navy"), "JPEG"), 16)
    assert (row["width"], row["height"]) == (2003, 1501)


@pytest.mark.slow
def test_a_reduced_scale_hardly_changes_the_pixels() -> None:
    y, x = np.mgrid[0:1200, 0:1600] / 100
    waves = np.stack([np.sin(x * y), np.cos(x + 2 * y), np.sin(3 * x - y)], -1)
    photo = Image.fromarray(np.uint8(128 + 100 * waves))
    jpeg = encoded(photo, "JPEG", quality=95, subsampling=0)
    full = encoded(Image.open(io.BytesIO(jpeg)), "PNG")
    difference = decode_one(jpeg, 40)["pixels"].astype(int) - decode_one(full, 40)["pixels"]
    assert np.sqrt((difference**2).mean()) < 2


def test_png_with_exif_behind_its_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = exif.tobytes()[6:]  # without "Exif\0\0"
    chunk = b"eXIf" + content
    late = struct.pack(">I", len(content)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    png = encoded(Image.new("RGB", (30, 20)), "PNG")
    row = decode_one(png[:-12] + late + png[-12:])
    assert (row["width"], row["height"]) == (20, 30)

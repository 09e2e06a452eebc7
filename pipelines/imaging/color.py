"""Every mode of Pillow -> RGB. What is transparent lies on white; embedded color profiles are not applied."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[int, int, int, int]

_BAND: Final = 2_000_000
"""Pixels converted in one go, so that a big image is not held in three modes at once."""

_PHOTOMETRIC: Final = 262  # TIFF tag


def to_rgb(image: Image.Image, format: str) -> Image.Image:
    """A loaded image of any mode as RGB.

    CMYK goes the plain way, (255 - c) * (255 - k) / 255; Pillow has already undone the inversion of Adobe's JPEGs.
    """
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    convert = _converter(image, format)
    picture = Image.new("RGB", image.size)
    for box in _bands(image):
        picture.paste(convert(image.crop(box)), box)
    return picture


def _bands(image: Image.Image) -> Iterator[Box]:
    rows = max(1, _BAND // image.width)
    for top in range(0, image.height, rows):
        yield 0, top, image.width, min(top + rows, image.height)


def _converter(image: Image.Image, format: str) -> Callable[[Image.Image], Image.Image]:
    if image.mode.startswith(("I", "F")):
        return _deep_grey(image, format)
    return _on_white if image.has_transparency_data else lambda band: band.convert("RGB")


def _on_white(band: Image.Image) -> Image.Image:
    picture = band.convert("RGBA")
    white = Image.new("RGB", band.size, "white")
    white.paste(picture, mask=picture)
    return white


def _deep_grey(image: Image.Image, format: str) -> Callable[[Image.Image], Image.Image]:
    """For gray of more than 8 bits: the span of the whole image maps to 0..255."""
    black, white = _span(image, format)
    clear = image.info.get("transparency")
    white_is_zero = getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0

    @np.errstate(all="ignore")  # floats out of a file may overflow; what comes of it is clipped
    def convert(band: Image.Image) -> Image.Image:
        values = (_finite(band) - black) * (255 / (white - black))
        if white_is_zero:  # Pillow turns 8-bit TIFFs round, but not these
            values = 255 - values
        if isinstance(clear, int):
            values[np.asarray(band) == clear] = 255
        gray = np.nan_to_num(np.clip(values + 0.5, 0, 255)).astype(np.uint8)
        return Image.fromarray(gray).convert("RGB")

    return convert


def _span(image: Image.Image, format: str) -> tuple[float, float]:
    """The values of black and white.

    Files seldom say how much of their range they use, and 12-bit values in 16 bits are common: so integers reach to the
    first of 8, 12, 15 (signed) and 16 bits that holds them all, floats to 1. What fits in none spans its own range.
    Pillow itself has scaled the integers of PPM to 16 bits.
    """
    extremes = [(float(values.min()), float(values.max())) for values in _finite_bands(image)]
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    ceilings = (1,) if image.mode == "F" else (65535,) if format == "PPM" else (255, 4095, 32767, 65535)
    for ceiling in ceilings:
        if low >= 0 and high <= ceiling:
            return 0, ceiling
    return min(0, low), max(high, low + 1)


def _finite_bands(image: Image.Image) -> Iterator[NDArray[np.float64]]:
    return (_finite(image.crop(box)) for box in _bands(image))


def _finite(band: Image.Image) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(band).astype(np.float64), nan=0, posinf=0, neginf=0)

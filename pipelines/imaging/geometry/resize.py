"""From an image to the pixels a model wants: antialiased, as Pillow and torchvision make them, by SIMD code.

Pillow takes about 2 ms of CPU for a 384 x 384 square out of a photo, cykooz_resizer half of that (see
tests/bench/decode). It is the same convolution, in two passes with 8 bits between them. Where a value overshoots,
the order of the passes shows: published preprocessing resizes the width first, as Pillow did until 12; Pillow 13 takes
the height first where that saves work, and cykooz_resizer always. So each pass is called by itself, width first, and
pixels do not depend on the installed Pillow.
"""

import math
import threading
from typing import Final

from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image

from capfilt.models.pixels import PixelSpec

_FILTERS: Final = {"bicubic": FilterType.catmull_rom, "bilinear": FilterType.bilinear}
_REACH: Final = {"bicubic": 2, "bilinear": 1}
"""How far a filter looks from a pixel's center, in pixels of the smaller of the two images."""

_LONG: Final = 8
"""Times the width that a height has from which on it goes first: 1 x 30,000,000 would grow to billions of pixels."""


class _Resizers(threading.local):
    """One a thread: a resizer keeps its buffers, and refuses to serve two threads."""

    def __init__(self) -> None:
        self.own = Resizer()


_RESIZERS: Final = _Resizers()
_Span = tuple[float, float]
"""From where to where along one side of an image."""


def square(picture: Image.Image, spec: PixelSpec) -> Image.Image:
    """The RGB image at `spec.size` x `spec.size`; `crop` is what torchvision makes."""
    size = spec.size
    if spec.mode == "crop":
        return _resized(picture, (size, size), spec.resample, *_center(picture, size))
    return _resized(picture, (size, size), spec.resample, (0, picture.width), (0, picture.height))


def fitted(picture: Image.Image, spec: PixelSpec, width: int, height: int) -> Image.Image:
    """The RGB image in its own aspect; `width` and `height` are the full ones, `picture` may be a smaller copy."""
    return _resized(picture, spec.shape(width, height), spec.resample, (0, picture.width), (0, picture.height))


def _center(picture: Image.Image, size: int) -> tuple[_Span, _Span]:
    """The part that stays when the shorter side becomes `size` and the center is cut out of the whole pixels."""
    short = min(picture.size)
    wide, high = int(size * picture.width / short), int(size * picture.height / short)
    return _middle(picture.width, wide, size), _middle(picture.height, high, size)


def _middle(length: int, resized: int, size: int) -> _Span:
    begin = round((resized - size) / 2)
    return begin * length / resized, min((begin + size) * length / resized, length)


def _resized(picture: Image.Image, size: tuple[int, int], filter: str, across: _Span, down: _Span) -> Image.Image:
    if picture.height >= _LONG * picture.width:
        return _width(_height(picture, size[1], filter, down), size[0], filter, across)
    first, rows = _rows(picture, size[1], filter, down)
    part = picture if rows == picture.height else picture.crop((0, first, picture.width, first + rows))
    return _height(_width(part, size[0], filter, across), size[1], filter, (down[0] - first, down[1] - first))


def _rows(picture: Image.Image, height: int, filter: str, down: _Span) -> tuple[int, int]:
    """The first row, and how many, that a resize of the height will look at."""
    reach = _REACH[filter] * max(1.0, (down[1] - down[0]) / height) + 1
    first = max(0, math.floor(down[0] - reach))
    return first, min(picture.height, math.ceil(down[1] + reach)) - first


def _width(picture: Image.Image, width: int, filter: str, span: _Span) -> Image.Image:
    box = CropBox(span[0], 0, span[1] - span[0], picture.height)
    return _one_pass(picture, Image.new("RGB", (width, picture.height)), filter, box)


def _height(picture: Image.Image, height: int, filter: str, span: _Span) -> Image.Image:
    box = CropBox(0, span[0], picture.width, span[1] - span[0])
    return _one_pass(picture, Image.new("RGB", (picture.width, height)), filter, box)


def _one_pass(picture: Image.Image, into: Image.Image, filter: str, box: CropBox) -> Image.Image:
    if into.size == picture.size == (box.width, box.height):
        return picture
    options = ResizeOptions(resize_alg=ResizeAlg.convolution(_FILTERS[filter]), crop_box=box, use_alpha=False)
    _RESIZERS.own.resize_pil(picture, into, options)
    return into

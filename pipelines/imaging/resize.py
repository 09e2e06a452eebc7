"""From a picture to the square of pixels a model wants."""

from typing import Final

from PIL import Image

from capfilt.models.pixels import PixelSpec

_BICUBIC: Final = Image.Resampling.BICUBIC
_LONG: Final = 8
"""From this aspect on only the part that stays is resized: 30,000 x 1 would grow to billions of pixels on the way."""


def square(picture: Image.Image, spec: PixelSpec) -> Image.Image:
    """The RGB picture at `spec.size` x `spec.size`, bicubic with antialiasing; `crop` is what torchvision makes."""
    if spec.mode == "squash":
        return picture.resize((spec.size, spec.size), _BICUBIC)
    return _centre(picture, spec.size)


def _centre(picture: Image.Image, size: int) -> Image.Image:
    """The shorter side becomes `size`, then the centre is cut out."""
    short = min(picture.size)
    wide, high = int(size * picture.width / short), int(size * picture.height / short)
    left, top = round((wide - size) / 2), round((high - size) / 2)
    box = (left, top, left + size, top + size)
    if max(wide, high) < _LONG * size:
        return picture.resize((wide, high), _BICUBIC).crop(box)
    x, y = picture.width / wide, picture.height / high
    part = box[0] * x, box[1] * y, min(box[2] * x, picture.width), min(box[3] * y, picture.height)
    return picture.resize((size, size), _BICUBIC, part)

"""From an image to the pixels a model wants."""

from typing import Final

from PIL import Image

from capfilt.models.pixels import PixelSpec

_RESAMPLING: Final = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
_LONG: Final = 8
"""From this aspect on only the part that stays is resized: 30,000 x 1 would grow to billions of pixels on the way."""


def square(picture: Image.Image, spec: PixelSpec) -> Image.Image:
    """The RGB image at `spec.size` x `spec.size`, antialiased; `crop` is what torchvision makes."""
    if spec.mode == "crop":
        return _center(picture, spec.size, _RESAMPLING[spec.resample])
    return picture.resize((spec.size, spec.size), _RESAMPLING[spec.resample])


def fitted(picture: Image.Image, spec: PixelSpec, width: int, height: int) -> Image.Image:
    """The RGB image in its own aspect; `width` and `height` are the full ones, `picture` may be a smaller copy."""
    return picture.resize(spec.shape(width, height), _RESAMPLING[spec.resample])


def _center(picture: Image.Image, size: int, resample: Image.Resampling) -> Image.Image:
    """The shorter side becomes `size`, then the center is cut out."""
    short = min(picture.size)
    wide, high = int(size * picture.width / short), int(size * picture.height / short)
    left, top = round((wide - size) / 2), round((high - size) / 2)
    box = (left, top, left + size, top + size)
    if max(wide, high) < _LONG * size:
        return picture.resize((wide, high), resample).crop(box)
    x, y = picture.width / wide, picture.height / high
    part = box[0] * x, box[1] * y, min(box[2] * x, picture.width), min(box[3] * y, picture.height)
    return picture.resize((size, size), resample, part)

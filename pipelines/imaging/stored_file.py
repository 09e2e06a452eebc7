"""The file to store in place of the one that was fetched, as `output.pixels` asks for it.

Resized by OpenCV, as img2dataset does: INTER_AREA to make smaller, INTER_LANCZOS4 to make larger. Neither Pillow nor
cykooz_resizer has them: their box filter counts a pixel on the border of two wholly to one of them.
"""

import io
from typing import Any, Final

import numpy as np
from PIL import Image, ImageFile

from capfilt.core.config import DecodeSettings, OutputSettings
from capfilt.core.schema import Reason
from capfilt.pipelines.imaging.image_file import BadImage, DecodedImage

Size = tuple[int, int]
"""Width and height."""

_FORMATS: Final = {"jpg": ("JPEG", "MPO"), "png": ("PNG",), "webp": ("WEBP",)}
"""`encode_format` -> Pillow's names of files that are in that format; it writes the first."""
_LONGEST: Final = {"jpg": 65_500, "webp": 16_383}
"""Pixels of a side that a format can hold."""
_BY_SHORTER: Final = ("keep_ratio", "center_crop")
"""Modes in which `image_size` is the shorter side; in the others it is the longer one."""


def resized(settings: OutputSettings, width: int, height: int) -> Size | None:
    """Width and height that an image of that size is resized to, before it is cut or padded; None = it is not."""
    if settings.resize_mode == "no":
        return None
    side = min(width, height) if settings.resize_mode in _BY_SHORTER else max(width, height)
    if settings.resize_only_if_bigger and side <= settings.image_size:
        return None
    scale = settings.image_size / side
    return max(1, round(width * scale)), max(1, round(height * scale))


def stored_file(
    picture: DecodedImage, file: ImageFile.ImageFile, output: OutputSettings, decode: DecodeSettings
) -> bytes | None:
    """The file to store; None = the one that was fetched, which `skip_reencode` keeps where nothing would change.

    Args:
        picture: the upright image, perhaps at a lower scale.
        file: its header.

    Raises:
        BadImage: it would have more pixels than `decode.max_pixels`, or than the format can hold.
    """
    size = resized(output, picture.width, picture.height)
    if size is None and output.skip_reencode and _is_kept(file, output.encode_format):
        return None
    _check(size or (picture.width, picture.height), output.encode_format, decode.max_pixels)
    image = picture.image if size is None else _fit(_resample(picture.image, size), output)
    return _encoded(image, output)


def _is_kept(file: ImageFile.ImageFile, format: str) -> bool:
    return file.format in _FORMATS[format] and not file.has_transparency_data


def _check(size: Size, format: str, max_pixels: int) -> None:
    width, height = size
    what = f"{width} x {height} pixels to store"
    if width * height > max_pixels:
        raise BadImage(Reason.TOO_MANY_PIXELS, f"{what}; decode.max_pixels is {max_pixels}")
    if max(size) > _LONGEST.get(format, max_pixels):
        raise BadImage(Reason.TOO_MANY_PIXELS, f"{what}; a {format} holds {_LONGEST[format]} a side")


def _resample(image: Image.Image, size: Size) -> Image.Image:
    import cv2  # 0.05 s and 17 MB that only those pay who store resized images

    cv2.setNumThreads(1)  # the stage has threads of its own, one an image
    smaller = min(size) < min(image.size) or max(size) < max(image.size)
    filter = cv2.INTER_AREA if smaller else cv2.INTER_LANCZOS4
    return Image.fromarray(np.asarray(cv2.resize(np.asarray(image), size, interpolation=filter), np.uint8))


def _fit(image: Image.Image, output: OutputSettings) -> Image.Image:
    """Cut the center out, or put it on white, where the mode says so."""
    side = output.image_size
    left, top = (image.width - side) // 2, (image.height - side) // 2
    if output.resize_mode == "center_crop":
        return image.crop((left, top, left + side, top + side))
    if output.resize_mode == "border":
        canvas = Image.new("RGB", (side, side), "white")
        canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        return canvas
    return image


def _encoded(image: Image.Image, output: OutputSettings) -> bytes:
    level = "compress_level" if output.encode_format == "png" else "quality"
    how: dict[str, Any] = {level: output.encode_quality}
    target = io.BytesIO()
    image.save(target, _FORMATS[output.encode_format][0], **how)
    return target.getvalue()

"""Images as a program has them, made the bytes of an image file."""

import io
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from capfilt.core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

PictureLike: TypeAlias = "str | PathLike[str] | bytes | Image | NDArray[np.uint8]"
"""A path, the bytes of an image file, a Pillow image, or an RGB array, uint8 [height, width, 3]."""


def named_bytes(picture: PictureLike, number: int) -> tuple[str, bytes]:
    """What to call an image in an error, and its image file; arrays and Pillow images become PNG, without loss.

    Raises:
        InputError: a file that is not there, or no image at all.
    """
    if isinstance(picture, bytes):
        return f"image {number}", picture
    if isinstance(picture, str | PathLike):
        try:
            return str(picture), Path(picture).read_bytes()
        except OSError as error:
            raise InputError(f"{picture}: {error.strerror}") from error
    return f"image {number}", _png(_pillow(picture, number))


def _pillow(picture: Any, number: int) -> "Image":
    from PIL import Image

    if isinstance(picture, Image.Image):
        return picture
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3:
        return Image.fromarray(picture)
    shape = f" of {picture.dtype} {list(picture.shape)}" if isinstance(picture, np.ndarray) else ""
    raise InputError(
        f"image {number} is a {type(picture).__name__}{shape}; expected a path, the bytes of an image file, "
        "a Pillow image or a uint8 array [height, width, 3]"
    )


def _png(image: "Image") -> bytes:
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()

"""Pictures as the bytes of files."""

import io
from typing import Any

import numpy as np
from PIL import Image


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """An image as the bytes of a file: `encoded(image, "PNG", **options of Pillow)`."""
    sink = io.BytesIO()
    image.save(sink, format, **options)
    return sink.getvalue()


def picture(number: int, side: int = 64, format: str = "JPEG", *, height: int = 0, **options: Any) -> bytes:
    """A picture of its own: soft blobs, different for each number, the same at every size.

    A square, unless it has a `height` of its own.
    """
    grid = np.random.default_rng(number).integers(0, 256, (6, 6, 3), np.uint8)
    return encoded(Image.fromarray(grid).resize((side, height or side), Image.Resampling.BICUBIC), format, **options)

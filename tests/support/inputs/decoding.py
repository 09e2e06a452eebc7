"""What the decode tests share: rows of images, and a picture whose every corner can be told."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from capfilt.core.config import DecodeSettings
from capfilt.core.schema import ROWS
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.stages.decode import decode


def rows_of(*images: bytes | None) -> pa.Table:
    """Rows that are alive, one an image."""
    alive: dict[str, Any] = {"url": None, "texts": [], "stage": None, "reason": None, "detail": None}
    return pa.Table.from_pylist(
        [{"uid": f"{i:032x}", "source": f"list#{i}", "image": image, **alive} for i, image in enumerate(images)],
        schema=ROWS,
    )


def decode_one(image: bytes, size: int = 0, **settings: Any) -> dict[str, Any]:
    """decode() on one image, its row as a dict; `size` also gives the pixels, as an array [size, size, 3].

    In this process, where tests can bend Pillow.
    """
    specs = [PixelSpec(size)] if size else []
    here = DecodeSettings(**{"isolate": False, **settings})
    row: dict[str, Any] = decode(rows_of(image), here, specs).to_pylist()[0]
    if size and row["reason"] is None:
        row["pixels"] = np.frombuffer(row[f"pixels:squash-{size}"], np.uint8).reshape(size, size, 3)
    return row


@pytest.fixture(scope="session")
def quarters() -> Image.Image:
    """96 x 64: red at the top left, green at the top right, blue at the bottom left, grey at the bottom right."""
    picture = Image.new("RGB", (96, 64), (128, 128, 128))
    picture.paste((255, 0, 0), (0, 0, 48, 32))
    picture.paste((0, 255, 0), (48, 0, 96, 32))
    picture.paste((0, 0, 255), (0, 32, 48, 64))
    return picture

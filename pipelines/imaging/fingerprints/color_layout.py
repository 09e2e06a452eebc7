"""Colors of an image, which a hash of brightness alone does not see: 4 x 4 pixels of YCbCr, 48 bytes.

A red and a green mug have one hash; so have all plain images, whatever their color. (MPEG-7's color layout descriptor
is the DCT of such a grid; 16 cells are few enough to compare as they are.)
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE: Final = 4
BYTES: Final = 3 * SIDE * SIDE

CHROMA: Final = 12
"""By how much (of 255) Cb and Cr of a cell may differ in images that are alike. Over 80 photos a third of the size,
JPEG of quality 30 and crops of 5 % stayed within 2, 3 and 9; a colored object of 1 % of the image makes 14 to 20."""
LUMA: Final = 24
"""The same for Y, which counts only where the hash says little: brighter copies are copies."""

ON_PLAIN_GROUND: Final = 6
"""The same for all three where most cells show one plain ground, as around a product in a shop: what is left of the
image is a few cells, whose differences the ground dilutes. Of 150 drawn products all but one copy of a third of the
size and JPEG of quality 30 stayed within 6; of 150 in another color 9 did (25 with the tolerances above)."""
GROUND_CELLS: Final = 10
"""Cells of 16 that the ground takes at least ..."""
GROUND_SPREAD: Final = 4
"""... and by how much they may differ from it."""

FEW_BITS: Final = 16
"""A hash with fewer bits set is of an image with hardly any structure. Of others about half are set."""

Layouts = NDArray[np.uint8]
"""[n, 48]; all zeros, which no image can have, stands for a layout that an older version did not store."""

Mask = NDArray[np.bool_]


def color_layout(thumbnail: Image.Image) -> bytes:
    """The layout of an RGB thumbnail whose sides are multiples of 4."""
    pixels = np.asarray(thumbnail.convert("YCbCr"), np.float64)
    height, width, _ = pixels.shape
    cells = pixels.reshape(SIDE, height // SIDE, SIDE, width // SIDE, 3).mean(axis=(1, 3))
    return bytes(np.round(cells).astype(np.uint8).tobytes())


def layouts_of(values: Sequence[bytes | None]) -> Layouts:
    """Stored layouts as an array."""
    return np.frombuffer(b"".join(value or bytes(BYTES) for value in values), np.uint8).reshape(-1, BYTES)


def mirrored(layouts: Layouts) -> Layouts:
    """The layouts of the images flipped left to right."""
    return layouts.reshape(-1, SIDE, SIDE, 3)[:, :, ::-1].reshape(-1, BYTES)


def same_colors(layouts: Layouts, others: Layouts, hashes: NDArray[np.uint64]) -> Mask:
    """Which pairs agree in color, and in brightness too where their hashes or colors say little; all [n].

    A pair of which one layout is not known agrees.
    """
    differences = np.abs(layouts.astype(np.int16) - others).reshape(-1, SIDE * SIDE, 3).max(axis=1)
    is_plain = np.bitwise_count(hashes) < FEW_BITS
    alike: Mask = np.logical_and((differences[:, 1:] <= CHROMA).all(axis=1), (differences[:, 0] <= LUMA) | ~is_plain)
    on_ground = _on_plain_ground(layouts) | _on_plain_ground(others)
    alike &= (differences <= ON_PLAIN_GROUND).all(axis=1) | ~on_ground
    unknown: Mask = np.logical_not(np.logical_and(layouts.any(axis=1), others.any(axis=1)))
    return alike | unknown


def _on_plain_ground(layouts: Layouts) -> Mask:
    cells = layouts.reshape(-1, SIDE * SIDE, 3).astype(np.int16)
    ground = np.partition(cells, SIDE * SIDE // 2, axis=1)[:, SIDE * SIDE // 2, None]  # the upper median, no mean
    is_ground = (np.abs(cells - ground) <= GROUND_SPREAD).all(axis=2)
    mask: Mask = is_ground.sum(axis=1) >= GROUND_CELLS
    return mask

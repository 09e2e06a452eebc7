"""LLaVA-NeXT's tiles: which an image is cut into, and how many tokens it takes. Free of torch until it is counted."""

from typing import Final

SHAPES: Final = ((1, 2), (2, 1), (2, 2), (3, 1), (1, 3))
"""Rows and columns of tiles that an image may be cut into."""
LONGEST: Final = max(max(shape) for shape in SHAPES)
"""Tiles of an image's longer side."""


def pinpoints(side: int) -> list[list[int]]:
    """Height and width in pixels of what an image may be resized to, for tiles of `side` pixels."""
    return [[rows * side, columns * side] for rows, columns in SHAPES]


def tokens_of(height: int, width: int, points: list[list[int]], side: int, patch: int) -> int:
    """Tokens of an image: the whole of it in one tile, then its tiles without what pads them, and the ends of rows."""
    from transformers.image_processing_utils import select_best_resolution

    grid = side // patch
    high, wide = (int(pixels) // side * grid for pixels in select_best_resolution((height, width), points))
    # The library rounds to 7 digits before it cuts; LLaVA's own code only cuts, and can have a row less.
    if width / height > wide / high:
        high -= (high - int(round(height * (wide / width), 7))) // 2 * 2
    else:
        wide -= (wide - int(round(width * (high / height), 7))) // 2 * 2
    return grid * grid + high * wide + high


def patches(side: int, patch: int) -> int:
    """Tokens of an image that is one tile."""
    return int((side // patch) ** 2)


def most_tokens(side: int, patch: int) -> int:
    """Tokens of an image at most."""
    grid = side // patch
    return grid * grid + max(rows * columns * grid * grid + rows * grid for rows, columns in SHAPES)

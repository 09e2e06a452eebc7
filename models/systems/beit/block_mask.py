"""Which patches are hidden: blocks of neighbors, so that a patch cannot be guessed from the one beside it."""

import math
from typing import Final

import torch
from torch import Tensor

TRIES: Final = 10
"""Blocks in a row that fit nowhere before a mask stays as it is, a little short of what was asked for."""
ASPECT: Final = math.log(1 / 0.3)
"""The aspect of a block is drawn from 0.3 to 1 / 0.3, evenly on a logarithmic scale (BEiT, algorithm 1)."""
LEAST: Final = 16 / 75
"""The smallest block as a share of all that is hidden."""


def block_mask(side: int, ratio: float, generator: torch.Generator) -> Tensor:
    """bool [side * side], True where a patch is hidden: at least one, at most round(ratio * side * side)."""
    most = max(1, round(ratio * side * side))
    mask = torch.zeros(side, side, dtype=torch.bool)
    misses = 0
    while (left := most - int(mask.sum())) > 0 and misses < TRIES:
        block = _block(side, min(most * LEAST, left), left, generator)
        new = int((~mask[block]).sum())
        if 0 < new <= left:
            mask[block] = True
            misses = 0
        else:
            misses += 1
    if not mask.any():
        mask.view(-1)[int(torch.randint(side * side, (), generator=generator))] = True
    return mask.view(-1)


def _block(side: int, least: float, most: float, generator: torch.Generator) -> tuple[slice, slice]:
    area, aspect, x, y = torch.rand(4, generator=generator).tolist()
    surface, ratio = least + (most - least) * area, math.exp(ASPECT * (2 * aspect - 1))
    height = min(side, max(1, round(math.sqrt(surface * ratio))))
    width = min(side, max(1, round(math.sqrt(surface / ratio))))
    top, left = int(y * (side - height + 1)), int(x * (side - width + 1))
    return slice(top, top + height), slice(left, left + width)

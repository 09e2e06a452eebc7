"""How long people's captions are, and numbers to draw from that make a model's as long.

Source: 35,455 captions of Flickr8k in BERT's word pieces, without the full stop, the closing [SEP] counted; 12.4 tokens
in the middle. The one longest, of 40, is left out.
"""

from typing import Final

import numpy as np
import torch
from torch import Tensor

COUNTS: Final = {
    2: 2, 3: 15, 4: 106, 5: 338, 6: 825, 7: 1901, 8: 2621, 9: 3049, 10: 3616, 11: 3703, 12: 3622, 13: 3401, 14: 2891,
    15: 2388, 16: 1900, 17: 1443, 18: 1034, 19: 779, 20: 550, 21: 367, 22: 284, 23: 203, 24: 118, 25: 89, 26: 67,
    27: 43, 28: 36, 29: 15, 30: 10, 31: 17, 32: 6, 33: 6, 34: 4, 35: 4, 37: 1,
}  # fmt: skip
"""Captions of so many tokens."""
MOST: Final = 30
"""Tokens of a caption at most, as a run's recipe cuts it by default."""


def caption_lengths(count: int, seed: int = 0) -> list[int]:
    """Lengths of so many captions in tokens, the closing one counted."""
    sizes, weights = np.array(list(COUNTS)), np.array(list(COUNTS.values()))
    drawn = np.random.default_rng(seed).choice(sizes, count, p=weights / weights.sum())
    lengths: list[int] = drawn.clip(max=MOST).tolist()
    return lengths


def ending_draws(lengths: list[int], most: int = MOST) -> Tensor:
    """float32 [R, most]: uniform numbers that end each caption at its length.

    For a model to which the stop token is always the likeliest, yet has less than 98 % of a nucleus' mass: the number 0
    draws the likeliest token, those of 0.98 and more another one.
    """
    numbers = torch.from_numpy(np.random.default_rng(1).uniform(0.98, 1, (len(lengths), most)).astype(np.float32))
    numbers = numbers.clamp(max=1 - 2**-24)
    for row, length in enumerate(lengths):
        numbers[row, length - 1] = 0
    return numbers

"""Keys and values that are computed once: those of an image, and those of the tokens that a caption has so far.

Dimensions: B rows, T tokens, H heads, d width of a head.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class KeysValues(NamedTuple):
    """Keys and values of one attention, each [B, H, length, d]."""

    keys: Tensor
    values: Tensor


class SelfCache:
    """Keys and values of the tokens decoded so far, allocated once: a pair [rows, H, T_max, d] a layer."""

    def __init__(self, layers: int, rows: int, heads: int, length: int, head_width: int, like: Tensor) -> None:
        shape = (layers, rows, heads, length, head_width)
        self.keys = like.new_empty(shape)
        self.values = like.new_empty(shape)
        self.length = 0

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> KeysValues:
        """Store the new tokens of one layer and give all of them; `advance` once all layers did."""
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return KeysValues(self.keys[layer, :, :, :end], self.values[layer, :, :, :end])

    def advance(self, tokens: int) -> None:
        self.length += tokens

    def places(self, tokens: int) -> Tensor:
        """Where the next tokens stand in their captions, int64 [tokens]."""
        return torch.arange(self.length, self.length + tokens, device=self.keys.device)

    def seen(self) -> Tensor | None:
        """Which of what `extend` gives the next token sees; None = all."""
        return None

    def take(self, rows: Tensor) -> None:
        """Go on with these rows (int64 indices); one may be taken several times, or not at all."""
        self.keys, self.values = self._taken(self.keys, rows), self._taken(self.values, rows)

    def _taken(self, cache: Tensor, rows: Tensor) -> Tensor:
        room = cache.new_empty(cache.shape[0], len(rows), *cache.shape[2:])
        room[:, :, :, : self.length] = cache[:, :, :, : self.length].index_select(1, rows)
        return room


class FixedCache(SelfCache):
    """A cache whose every tensor, the next token's place included, stays where it is: a step of it can be recorded.

    It takes one token a step and gives all its room; `seen` says what of it is filled.
    """

    def __init__(self, layers: int, rows: int, heads: int, length: int, head_width: int, like: Tensor) -> None:
        super().__init__(layers, rows, heads, -(-length // 8) * 8, head_width, like)  # 8: attention with a mask asks it
        self.keys.zero_()
        self.values.zero_()  # what is not seen counts 0 times, which is NaN if it happens to be infinite
        self.place = torch.zeros(1, dtype=torch.int64, device=like.device)
        self._spots = torch.arange(self.keys.shape[3], device=like.device)

    def start(self, prompt: SelfCache, n: int) -> None:
        """Begin with what these images' prompt left, for n captions of each."""
        rows, filled = prompt.keys.shape[1] * n, prompt.length
        self.keys[:, :rows, :, :filled] = prompt.keys[:, :, :, :filled].repeat_interleave(n, 1)
        self.values[:, :rows, :, :filled] = prompt.values[:, :, :, :filled].repeat_interleave(n, 1)
        self.place.fill_(filled)

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> KeysValues:
        self.keys[layer].index_copy_(2, self.place, keys)
        self.values[layer].index_copy_(2, self.place, values)
        return KeysValues(self.keys[layer], self.values[layer])

    def advance(self, tokens: int) -> None:
        self.place += tokens

    def places(self, tokens: int) -> Tensor:
        return self.place

    def seen(self) -> Tensor | None:
        return (self._spots <= self.place)[None, None, None]

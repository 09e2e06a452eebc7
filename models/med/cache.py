"""Keys and values that are computed once: those of an image, and those of the tokens that a caption has so far.

Dimensions: B rows, T tokens, H heads, d width of a head.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor


class KeysValues(NamedTuple):
    """Keys and values of one attention, each [B, H, length, d]."""

    keys: Tensor
    values: Tensor


def added(seen: Tensor, like: Tensor) -> Tensor:
    """A mask bool (True = seen) as what attention adds, in the dtype of `like`: made once, not in every layer."""
    return like.new_zeros(seen.shape).masked_fill_(~seen, float("-inf"))


# Allocated at its full length: to append a token by torch.cat copies all tokens so far, in every layer of every step.
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
        """Where the next tokens stand in their captions, int64 [tokens] or [rows, tokens]."""
        return torch.arange(self.length, self.length + tokens, device=self.keys.device)

    def seen(self) -> Tensor | None:
        """What attention adds for what `extend` gives: 0 where the next token sees it, else -inf; None: it sees all."""
        return None

    def take(self, rows: Tensor) -> None:
        """Go on with these rows (int64 indices); one may be taken several times, or not at all."""
        self.keys, self.values = self._taken(self.keys, rows), self._taken(self.values, rows)

    def _taken(self, cache: Tensor, rows: Tensor) -> Tensor:
        room = cache.new_empty(cache.shape[0], len(rows), *cache.shape[2:])
        room[:, :, :, : self.length] = cache[:, :, :, : self.length].index_select(1, rows)
        return room


class FixedCache(SelfCache):
    """A cache whose every tensor, the next token's place in each row included, stays where it is: a step of it can be
    recorded.

    It takes one token a step and gives all its room; `seen` says what of it is filled.
    """

    def __init__(self, layers: int, rows: int, heads: int, length: int, head_width: int, like: Tensor) -> None:
        super().__init__(layers, rows, heads, -(-length // 8) * 8, head_width, like)  # 8: attention with a mask asks it
        self.keys.zero_()
        self.values.zero_()  # what is not seen counts 0 times, which is NaN if it happens to be infinite
        self.last = length - 1  # a row that has ended stays at its last place
        self.place = torch.zeros(rows, dtype=torch.int64, device=like.device)
        self._spots = torch.arange(self.keys.shape[3], device=like.device)

    def start(self, rows: Tensor, prompt: SelfCache, owners: Tensor) -> None:
        """Begin these rows with what the prompt of their images left, both int64."""
        for mine, given in ((self.keys, prompt.keys), (self.values, prompt.values)):
            mine[:, rows, :, : prompt.length] = given[:, owners, :, : prompt.length]
        self.place[rows] = min(prompt.length, self.last)

    def first(self, rows: int) -> "FixedCache":
        """The same memory of the first rows alone."""
        view = copy.copy(self)
        view.keys, view.values, view.place = self.keys[:, :rows], self.values[:, :rows], self.place[:rows]
        return view

    def extend(self, layer: int, keys: Tensor, values: Tensor) -> KeysValues:
        spot = self.place[:, None, None, None].expand(keys.shape)
        mine = KeysValues(self.keys[layer], self.values[layer])
        mine.keys.scatter_(2, spot, keys)
        mine.values.scatter_(2, spot, values)
        return mine

    def advance(self, tokens: int) -> None:
        self.place.add_(tokens).clamp_(max=self.last)

    def places(self, tokens: int) -> Tensor:
        return self.place[:, None]

    def seen(self) -> Tensor | None:
        return added(self._spots <= self.place[:, None], self.keys)[:, None, None]

    def move(self, rows: Tensor) -> None:
        """These rows, int64, become the first ones."""
        for tensor, axis in ((self.keys, 1), (self.values, 1), (self.place, 0)):
            tensor.narrow(axis, 0, len(rows)).copy_(tensor.index_select(axis, rows))

"""Texts of different lengths without their padding.

Dimensions: M texts, T tokens of the longest, K tokens of all texts together, D width.
"""

from torch import Tensor


class Ragged:
    """K tokens in groups: the tokens of a text, or those of all the texts of an image."""

    def __init__(self, group: Tensor, place: Tensor, groups: int) -> None:
        """`group`, `place` int64 [K]: the group of each token, and where in the group it stands."""
        self.groups = groups
        self.longest = int(place.max()) + 1
        self.place = place
        self._cell = group * self.longest + place
        self._full = len(place) == groups * self.longest  # no padding: a view does

    @classmethod
    def of(cls, mask: Tensor) -> "Ragged":
        """The tokens of `mask` bool [groups, length], row by row; where it is False there is none."""
        group = mask.nonzero()[:, 0]
        return cls(group, (mask.cumsum(1) - 1)[mask], len(mask))

    def firsts(self) -> Tensor:
        """int64 [groups]: which of the K tokens is the first of each group."""
        return (self.place == 0).nonzero()[:, 0]

    def pad(self, tokens: Tensor) -> Tensor:
        """[K, D] -> [groups, longest, D], zero where no token is."""
        if self._full:
            return tokens.view(self.groups, self.longest, -1)
        grid = tokens.new_zeros(self.groups * self.longest, tokens.shape[-1])
        return grid.index_copy_(0, self._cell, tokens).view(self.groups, self.longest, -1)

    def flat(self, grid: Tensor) -> Tensor:
        """[groups, longest, D] -> [K, D], the inverse of `pad`."""
        rows = grid.reshape(self.groups * self.longest, -1)
        return rows if self._full else rows[self._cell]

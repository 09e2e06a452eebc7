"""Texts of different lengths without their padding, and captions in any order beside their images.

Dimensions: M texts, T tokens of the longest, K tokens of all texts together, D width; R rows
of a token each, S seats of an image each, n places a seat.
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


class Seats:
    """R captions, a token of each, at S images that up to n of them look at."""

    def __init__(self, cell: Tensor, owner: Tensor, n: int) -> None:
        """`cell` int64 [R]: the place of a row among the S * n; `owner` int64 [S * n]: the row at a place.

        A place that nobody has may name any row, and a row without a caption any place: nobody reads what they give.
        """
        self.cell, self.owner, self.n = cell, owner, n

    def pad(self, rows: Tensor) -> Tensor:
        """[R, 1, D] -> [S, n, D]."""
        return rows[:, 0].index_select(0, self.owner).view(-1, self.n, rows.shape[-1])

    def flat(self, grid: Tensor) -> Tensor:
        """[S, n, D] -> [R, 1, D]."""
        return grid.reshape(-1, grid.shape[-1]).index_select(0, self.cell)[:, None]

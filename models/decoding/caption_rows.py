"""The state of captions that are written side by side, in tensors that stay where they are.

Dimensions: R rows, one caption each, T tokens, V vocabulary.
"""

from dataclasses import dataclass, replace
from typing import Final

from torch import Tensor

from capfilt.models.med.cache import FixedCache

_TENSORS: Final = ("ids", "draws", "logits", "logprob", "step", "going", "cell")


@dataclass(slots=True)
class Rows:
    """The state of R captions; a step changes all of it but `draws`, `cell` and the cache's keys and values."""

    ids: Tensor  # int64 [R, T + 1]; the last column is for rows that have ended
    draws: Tensor  # float32 [R, T + 1]
    logits: Tensor  # float32 [R, V], of the next token
    logprob: Tensor  # float32 [R]
    step: Tensor  # int64 [R], tokens written
    going: Tensor  # bool [R]
    cell: Tensor  # int64 [R], see `Seats`
    cache: FixedCache

    def first(self, rows: int) -> "Rows":
        """The same memory of the first rows alone."""
        cut = {name: getattr(self, name)[:rows] for name in _TENSORS}
        return replace(self, **cut, cache=self.cache.first(rows))

    def start(self, rows: Tensor, draws: Tensor, logits: Tensor) -> None:
        """Begin captions in these rows, int64 [M], with their numbers [M, T] and first logits [M, V]."""
        for tensor in (self.ids, self.logprob, self.step):
            tensor[rows] = 0
        self.draws[rows, : draws.shape[1]] = draws
        self.logits[rows] = logits
        self.going[rows] = True

    def move(self, rows: Tensor) -> None:
        """These rows, int64, become the first ones; `cell` is for the caller to set."""
        for tensor in (getattr(self, name) for name in _TENSORS if name != "cell"):
            tensor[: len(rows)] = tensor[rows]
        self.going[len(rows) :] = False
        self.cache.move(rows)

    def state(self) -> tuple[Tensor, ...]:
        """What must be put back to take steps again; keys and values are written anew."""
        return self.ids, self.logits, self.logprob, self.step, self.going, self.cache.place

"""A model with its objectives: what the loop trains."""

from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from capfilt.models.training.frozen import locked
from capfilt.models.training.group import Group


class Task(nn.Module):
    """Its state dict is all that training changes but the optimizer, random numbers included.

    Called with a batch it gives the loss to go back from, and each objective's value, both of this worker's part.

    Args:
        seed: of `generator`. One stream for all workers: each draws what all draw and uses its own part.
    """

    def __init__(self, seed: int = 0, group: Group | None = None) -> None:
        super().__init__()
        self.group = group or Group()
        self.generator = torch.Generator().manual_seed(seed)

    def train(self, mode: bool = True) -> Self:
        """As of any module, but what is locked stays as it is evaluated: without dropout, statistics unchanged."""
        super().train(mode)
        for _, module in locked(self):
            module.eval()
        return self

    def after_update(self) -> None:
        """What follows each update of the weights."""

    def rates(self) -> Mapping[str, float]:
        """Factors of the learning rate, by the beginning of the parameters' names; the longest that fits counts."""
        return {}

    def get_extra_state(self) -> Tensor:
        """The state of the random numbers; part of the state dict."""
        return self.generator.get_state()

    def set_extra_state(self, state: Any) -> None:
        self.generator.set_state(state)

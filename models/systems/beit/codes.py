"""Visual tokens: groups of a teacher's patch features, by spherical k-means that goes on from batch to batch.

It is the codebook of BEiT v2 (Peng et al. 2022, arXiv 2208.06366, section 2.1) without its encoder and decoder: groups
start by k-means over the first batch, then follow the mean of what falls to them; one that nothing falls to stays.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capfilt.core.errors import ConfigError
from capfilt.models.training.group import Group

ROUNDS: Final = 10
"""Rounds of k-means over the first batch."""
DECAY: Final = 0.99
"""How slowly a group's center follows."""
SAMPLE: Final = 64
"""Features a group that k-means looks at, at most."""


class Codes(nn.Module):
    """K centers of unit length among features of width D."""

    centers: Tensor

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("centers", torch.zeros(codes, width))
        self.started = False

    def forward(self, features: Tensor) -> Tensor:
        """Features [M, D] -> int64 [M], the number of the nearest center."""
        return (F.normalize(features, dim=-1) @ self.centers.T).argmax(-1)

    @torch.no_grad()
    def learn(self, features: Tensor, generator: torch.Generator, group: Group) -> None:
        """Move the centers towards features [m, D] of this worker; all workers end with the same centers."""
        units = F.normalize(features, dim=-1)
        if not self.started:
            self._start(units, generator, group)
            return
        sums, counts = self._sums(units)
        sums, counts = group.mean(sums), group.mean(counts)
        moved = F.normalize(DECAY * self.centers + (1 - DECAY) * F.normalize(sums, dim=-1), dim=-1)
        self.centers = torch.where(counts[:, None] > 0, moved, self.centers)

    def _start(self, units: Tensor, generator: torch.Generator, group: Group) -> None:
        codes = len(self.centers)
        # This worker's share of them, rounded up.
        most = -(-codes * SAMPLE // group.size)
        chosen = torch.randperm(len(units), generator=generator)[:most].to(units.device)
        units = group.gather(units[chosen])
        if len(units) < codes:
            raise ConfigError(f"codebook.codes = {codes}: the first batch has only {len(units)} patches")
        # All workers draw the same ones: they have gathered the same features, and their generators stand alike.
        first = torch.randperm(len(units), generator=generator)[:codes].to(units.device)
        self.centers = units[first].clone()
        for _ in range(ROUNDS):
            sums, counts = self._sums(units)
            self.centers = torch.where(counts[:, None] > 0, F.normalize(sums, dim=-1), self.centers)
        self.started = True

    def _sums(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """The sum [K, D] and the number [K] of what falls to each center."""
        nearest = self(units)
        sums = torch.zeros_like(self.centers).index_add_(0, nearest, units)
        return sums, torch.bincount(nearest, minlength=len(self.centers)).to(units.dtype)

    def get_extra_state(self) -> Tensor:
        """Whether the centers have started; part of the state dict."""
        return torch.tensor(self.started)

    def set_extra_state(self, state: Any) -> None:
        self.started = bool(state)

"""Guesses of hidden patches from those that are seen: what a masked autoencoder must be better than.

Dimensions: B images, N patches, D values of a patch.
"""

import torch
from torch import Tensor


def guesses(images: Tensor, patch: int, hidden: Tensor) -> dict[str, float]:
    """The squared error of hidden patches by guess; the last one is told each patch's true mean.

    Args:
        images: float32 [B, 3, S, S].
        hidden: bool [B, N].
    """
    patches = _patches(images, patch)
    distances = _distances(images.shape[-1] // patch)
    means = patches.view(*patches.shape[:2], -1, 3).mean(2)  # [B, N, 3]
    near = distances[None].masked_fill(hidden[:, None], torch.inf)  # [B, N, N], those that are seen
    weights = {
        "mean of all seen": (~hidden).double()[:, None].expand_as(near),
        "nearest seen": torch.zeros_like(near).scatter(-1, near.argmin(-1, keepdim=True), 1.0),
        "seen by distance": torch.where(near.isinf(), 0.0, near.clamp(min=1) ** -2),
    }
    found = {name: (of / of.sum(-1, keepdim=True)) @ means.double() for name, of in weights.items()}
    return {name: _error(patches, guess, hidden) for name, guess in (found | {"own mean": means}).items()}


def _error(patches: Tensor, means: Tensor, hidden: Tensor) -> float:
    guess = means.repeat(1, 1, patches.shape[-1] // 3)
    return float(((patches - guess) ** 2).mean(-1)[hidden].mean())


def _patches(images: Tensor, patch: int) -> Tensor:
    """[B, N, D], the channel last within a patch."""
    cut = images.unfold(2, patch, patch).unfold(3, patch, patch)  # [B, 3, rows, columns, p, p]
    return cut.permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2).double()


def _distances(side: int) -> Tensor:
    """float64 [N, N] between patches, in patches."""
    line = torch.arange(side, dtype=torch.float64)
    places = torch.cartesian_prod(line, line)
    return torch.cdist(places, places)

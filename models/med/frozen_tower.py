"""An image tower that is not trained, as the image side of a MED: LiT's idea (Zhai et al. 2022), for few pairs.

Dimensions: B images, N tokens (the mean of the feature map, then its places row by row), C channels, S image side.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

import torch
from torch import Tensor, nn

from capfilt.models.med.vision import fitted, sines
from capfilt.models.normalize import CLIP_MEAN, CLIP_STD

CACHE_BYTES: Final = 2_000_000_000
"""Bytes of feature maps that a training keeps; the oldest are dropped first."""


class FrozenFeatures:
    """A network that nobody trains, and the feature maps it gave so far, by the pixels they are of.

    No module holds it as a submodule: so it has no gradients, is in no optimizer and no state dict, and stays in
    evaluation mode.

    Args:
        network: gives [B, C, rows, columns], or tokens [B, N, C] of a square; such as timm's `forward_features`.
        mean, std: of RGB in 0..1, as the network wants its pixels.
    """

    def __init__(self, network: Any, mean: Sequence[float], std: Sequence[float]) -> None:
        self.network: Any = network.requires_grad_(False).eval()
        # From pixels as a MED takes them (normalized as CLIP's) to pixels as the network does.
        self.scale = torch.tensor([ours / theirs for ours, theirs in zip(CLIP_STD, std, strict=True)])
        self.shift = torch.tensor([(c - m) / s for c, m, s in zip(CLIP_MEAN, mean, std, strict=True)])
        self.kept: dict[bytes, Tensor] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "FrozenFeatures":
        # Momentum encoders copy a MED: what is never trained is the same in both, and so are its features.
        return self

    @torch.no_grad()
    def __call__(self, pixels: Tensor, keep: bool) -> Tensor:
        """Normalized pixels [B, 3, S, S] -> features float32 [B, rows * columns, C].

        Args:
            keep: remember the features of each image. Each new one is then computed alone, for a convolution's last
                digits depend on the size of a batch, and a resumed training meets images in other company.
        """
        self.network.to(pixels.device)
        # Not under the autocast of a training: what is computed once should not be the coarser for it.
        with torch.autocast(pixels.device.type, enabled=False):
            if not keep:
                return self._compute(pixels)
            return torch.cat([self._remembered(pixels[row : row + 1]) for row in range(len(pixels))])

    @staticmethod
    def key(pixels: Tensor) -> bytes:
        """What the features of one image are kept under."""
        return blake2b(pixels.float().cpu().numpy().tobytes(), digest_size=16).digest()

    def _remembered(self, pixels: Tensor) -> Tensor:
        key = self.key(pixels)
        if key not in self.kept:
            found = self._compute(pixels)
            while self.kept and (len(self.kept) + 1) * found.nbytes > CACHE_BYTES:
                del self.kept[next(iter(self.kept))]
            self.kept[key] = found
        return self.kept[key]

    def _compute(self, pixels: Tensor) -> Tensor:
        scale, shift = (value.to(pixels.device)[:, None, None] for value in (self.scale, self.shift))
        features: Tensor = self.network.forward_features(pixels.float() * scale + shift)
        if features.ndim == 4:
            return features.flatten(2).transpose(1, 2)
        # Class and register tokens come first; they are no patches.
        return features[:, getattr(self.network, "num_prefix_tokens", 0) :]


class FrozenTower(nn.Module):
    """Pixels to one state a token; the first one, the mean of the others, is the global feature.

    Trained are a norm and position embeddings alone: a feature map says what is there, and cross-attention needs to
    know where.

    Args:
        image_size: S, the side that it is trained with.

    Raises:
        ValueError: a network whose feature map is no square.
    """

    def __init__(self, features: FrozenFeatures, image_size: int) -> None:
        super().__init__()
        self.features = features
        _, tokens, self.width = features(torch.zeros(1, 3, image_size, image_size), keep=False).shape
        self.side = round(tokens**0.5)
        if self.side**2 != tokens:
            raise ValueError(f"its feature map has {tokens} places, which are no square")
        self.norm = nn.LayerNorm(self.width, eps=1e-5)
        self.position = nn.Parameter(sines(self.side, self.width))

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalized pixels [B, 3, S, S] -> states [B, 1 + N, C]."""
        found = self.features(pixels, keep=self.training).to(self.norm.weight.dtype)
        tokens = torch.cat((found.mean(1, keepdim=True), found), dim=1)
        side = round(found.shape[1] ** 0.5)
        states: Tensor = self.norm(tokens)
        return states + fitted(self.position, side, side).to(states.dtype)

"""The image tower: a plain pre-norm ViT.

Dimensions: B images, N tokens ([CLS] + patches), D width, H heads, P patch side, S image side.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capfilt.models.med.config import OLD_NAMES, MEDConfig
from capfilt.models.med.linear import Linear


class VisionLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        # The published weights' own eps, 1e-12 on the text side; others are refused (`formats.checkpoint`).
        self.norm1 = nn.LayerNorm(width, eps=1e-5)
        self.qkv = Linear(width, 3 * width)
        self.out = Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-5)
        self.fc1 = Linear(width, 4 * width)
        self.fc2 = Linear(4 * width, width)
        self.drop_path = 0.0  # share of images that skip the layer in training

    def forward(self, x: Tensor) -> Tensor:
        """[B, N, D] -> [B, N, D]."""
        x = x + self._kept(self.attention(self.norm1(x)))
        return x + self._kept(self.fc2(self.fc1.gelu(self.norm2(x))))

    def _kept(self, x: Tensor) -> Tensor:
        """Zero for the images that skip this; the others are scaled up, so that the mean stays."""
        if not (self.training and self.drop_path):
            return x
        return x * F.dropout(x.new_ones(len(x), 1, 1), self.drop_path)

    def attention(self, x: Tensor) -> Tensor:
        """Every token sees every token."""
        b, n, d = x.shape
        parts = self.qkv(x).view(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = parts if x.is_cuda else parts.contiguous()  # a CPU attends faster over what lies together
        seen = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(seen.transpose(1, 2).reshape(b, n, d))
        return out


class ConvStem(nn.Sequential):
    """Patches by 3 x 3 convolutions of stride 2 instead of one large one (Xiao et al. 2021, arXiv 2106.14881)."""

    def __init__(self, width: int, patch: int) -> None:
        halvings = patch.bit_length() - 1
        widths = [3, *(max(16, width >> (halvings - step - 1)) for step in range(halvings))]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), nn.GroupNorm(1, wide), nn.GELU()]
        super().__init__(*layers, nn.Conv2d(width, width, 1))


class VisionTransformer(nn.Module):
    """Pixels to one state a token; the first one is the global feature."""

    def __init__(self, config: MEDConfig) -> None:
        super().__init__()
        width, patch = config.vision_width, config.patch_size
        self.patch = nn.Conv2d(3, width, patch, patch) if config.stem == "patch" else ConvStem(width, patch)
        self.cls = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.position = nn.Parameter(sines(config.image_size // patch, width))
        self.layers = nn.ModuleList(VisionLayer(width, config.vision_heads) for _ in range(config.vision_layers))
        self.norm = nn.LayerNorm(width, eps=1e-5)
        # A narrow tower has lost most of its positions at the end. Without them here, a captioner of width 128 tells
        # "left" from "right" no better than chance after 6,000 steps; with them it is right in over 99 % of images.
        strength = config.output_pos_embed
        again = strength * sines(config.image_size // patch, width) if strength else None
        self.output_pos_embed = None if again is None else nn.Parameter(again)
        self.register_load_state_dict_pre_hook(_take_old_names)  # type: ignore[no-untyped-call]  # torch's

    def forward(self, pixels: Tensor) -> Tensor:
        """Normalized pixels [B, 3, S, S] -> states [B, N, D]."""
        tokens, rows, columns = self._patches(pixels)
        x = torch.cat((self.cls.to(tokens.dtype).expand(len(tokens), -1, -1), tokens), dim=1)
        x = x + fitted(self.position, rows, columns).to(x.dtype)
        for layer in self.layers:
            x = layer(x)
        states: Tensor = self.norm(x)
        if self.output_pos_embed is None:
            return states
        return states + fitted(self.output_pos_embed, rows, columns).to(x.dtype)

    def _patches(self, pixels: Tensor) -> tuple[Tensor, int, int]:
        """One token a patch [B, rows * columns, D].

        As a matrix product, for a CUDA device rounds float32 to TF32 in convolutions, not in those.
        """
        if not isinstance(self.patch, nn.Conv2d):
            found = self.patch(pixels)
            return found.flatten(2).transpose(1, 2), *found.shape[-2:]
        side = self.patch.kernel_size[0]
        rows, columns = (length // side for length in pixels.shape[-2:])
        cut = pixels[:, :, : rows * side, : columns * side].unfold(2, side, side).unfold(3, side, side)
        flat = cut.permute(0, 2, 3, 1, 4, 5).reshape(len(pixels), rows * columns, -1)
        return F.linear(flat, self.patch.weight.flatten(1), self.patch.bias), rows, columns


def fitted(positions: Tensor, rows: int, columns: int) -> Tensor:
    """Position embeddings [1, 1 + side * side, D] for a grid, interpolated (bicubic) when it is not the trained one."""
    side = round((positions.shape[1] - 1) ** 0.5)
    if (rows, columns) == (side, side):
        return positions
    grid = positions[:, 1:].view(1, side, side, -1).permute(0, 3, 1, 2).float()
    grid = F.interpolate(grid, size=(rows, columns), mode="bicubic", align_corners=False)
    return torch.cat((positions[:, :1], grid.flatten(2).transpose(1, 2).to(positions.dtype)), dim=1)


# 2-D sines as the start: with one large patch and small random positions, a MED of 2 M parameters did not learn shapes
# and places from 100,000 images; with these and the convolutional stem it did.
def sines(side: int, width: int) -> Tensor:
    """Where learned position embeddings start: [1, 1 + side * side, width], 2-D sines and cosines, zero for [CLS].

    From small random numbers a narrow tower takes thousands of steps to tell left from right; from these it does not.
    """
    rates = 1.0 / 10_000 ** (torch.arange(width // 4) / (width // 4))
    angles = torch.arange(side)[:, None] * rates
    wave = torch.cat((angles.sin(), angles.cos()), dim=1)
    rows, columns = wave[:, None].expand(-1, side, -1), wave[None].expand(side, -1, -1)
    grid = torch.cat((rows, columns), dim=2).reshape(side * side, -1)
    return torch.cat((torch.zeros(1, width), F.pad(grid, (0, width - grid.shape[1]))))[None]


def _take_old_names(module: nn.Module, weights: dict[str, Any], prefix: str, *_: Any) -> None:
    """Weights and states of training that were written under a parameter's old name keep loading."""
    for old, new in OLD_NAMES.items():
        if f"{prefix}{old}" in weights:
            weights[f"{prefix}{new}"] = weights.pop(f"{prefix}{old}")

"""Pixels as a tower wants them: bytes to normalized floats, on the device."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

CLIP_MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Final = (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of RGB in 0..1, shared by CLIP and BLIP."""


def normalize(
    images: Tensor, dtype: torch.dtype, mean_rgb: Sequence[float] = CLIP_MEAN, std_rgb: Sequence[float] = CLIP_STD
) -> Tensor:
    """uint8 [B, S, S, 3] -> dtype [B, 3, S, S], by a mean and standard deviation of RGB in 0..1."""
    # Bytes are copied to the device and become floats there: a quarter of the bytes of float32.
    mean = torch.tensor(mean_rgb, device=images.device).mul(255)
    std = torch.tensor(std_rgb, device=images.device).mul(255)
    return images.float().sub(mean).div(std).permute(0, 3, 1, 2).to(dtype).contiguous()

"""`quality`: plain facts about the pixels of an image. No weights; runs in milliseconds on a CPU.

Measured on the image with its longer side at most 512 pixels, so that values of large and small files compare.
"""

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import ImageInput
from capfilt.models.runtime import Placement

NEAR: Final = 12
"""Levels of 255 in which a color may differ from another and still counts as the same: noise of JPEG."""
NEARLY_ALL: Final = 0.98
"""Share of the pixels of a line that have one color where the line is border."""
SOLID: Final = 0.95
"""Share of the pixels of a near-solid image that have one color."""

_LUMA: Final = (0.299, 0.587, 0.114)


class QualityJudge:
    """Sharpness, entropy, contrast, border, aspect, near-solid."""

    name = "quality"
    digest = "000000000001"
    pixels = PixelSpec(512, "fit", "bilinear")
    columns: Mapping[str, str] = {
        "sharpness": "float",  # variance of the Laplacian of luma (0..255); below about 100 an image looks blurred
        "entropy": "float",  # of the histogram of luma, in bits, 0..8; drawings and logos have little
        "contrast": "float",  # standard deviation of luma, 0..1 (1 = half black, half white)
        "border": "float",  # share of the image that is a border of one color, 0..1
        "aspect": "float",  # width / height
        "near_solid": "bool",  # nearly all pixels have one color
    }

    def __init__(self, placement: Placement) -> None:
        del placement  # a GPU would wait for the copies

    @torch.inference_mode()
    def describe(self, images: ImageInput) -> dict[str, list[Any]]:
        """See `protocols.ImageJudge`."""
        facts = [_facts(image) for image in images]
        return {column: [one[column] for one in facts] for column in self.columns}


def _facts(image: Tensor) -> dict[str, Any]:
    """Of uint8 [H, W, 3]."""
    pixels = image.float()
    luma = pixels @ torch.tensor(_LUMA)
    height, width = luma.shape
    return {
        "sharpness": _sharpness(luma),
        "entropy": _entropy(luma),
        "contrast": float(luma.std(correction=0)) / 127.5,
        "border": _border(pixels),
        "aspect": width / height,
        "near_solid": bool(_near(pixels.reshape(-1, 3), 0).float().mean() >= SOLID),
    }


def _sharpness(luma: Tensor) -> float:
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])
    return float(F.conv2d(luma[None, None], kernel[None, None]).var(correction=0))


def _entropy(luma: Tensor) -> float:
    share = torch.bincount(luma.round().long().flatten(), minlength=256) / luma.numel()
    return float(torch.special.entr(share).sum()) / 0.6931471805599453


def _near(pixels: Tensor, dim: int) -> Tensor:
    """Whether pixels [..., 3] have about the median color along `dim`; without the last axis."""
    return ((pixels - pixels.median(dim, keepdim=True).values).abs() <= NEAR).all(-1)


def _border(pixels: Tensor) -> float:
    """Share of the area outside the smallest rectangle that has no line of one color along its sides."""
    height, width = pixels.shape[:2]
    top, bottom = _lines(pixels), _lines(pixels.flip(0))
    left, right = _lines(pixels.transpose(0, 1)), _lines(pixels.transpose(0, 1).flip(0))
    inside = max(height - top - bottom, 0) * max(width - left - right, 0)
    return 1 - inside / (height * width)


def _lines(pixels: Tensor) -> int:
    """How many of the first rows of [H, W, 3] have the color of the first row, all over."""
    color = pixels[0].median(0).values
    same = ((pixels - color).abs() <= NEAR).all(-1).float().mean(1) >= NEARLY_ALL
    return int(same.long().cumprod(0).sum())

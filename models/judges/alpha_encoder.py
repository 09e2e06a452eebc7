"""Alpha-CLIP: a CLIP whose image tower also sees a mask of what a text is about (Sun et al. 2024, section 3.2).

A second convolution over the mask is added to that over the colors. It starts from zero, so that the tower begins as
the CLIP that it was. A box is its mask: 1 inside, 0 outside, and in between where it cuts a pixel.

Dimensions: B images, S pixels of a side.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from capfilt.core.errors import ModelError
from capfilt.models.formats.checkpoint import weight_files
from capfilt.models.formats.guarded import load_tensors
from capfilt.models.formats.model_info import ALPHA, OFF, ONES
from capfilt.models.judges.dual_encoder import DualEncoder
from capfilt.models.pixels import Box

WEIGHT: Final = "vision_model.embeddings.alpha.weight"
"""The convolution over masks; a checkpoint has it beside the tensors of a `CLIPModel`."""
MEAN, STD = 0.5, 0.26
"""Of masks, in the published code."""


@dataclass(frozen=True, slots=True)
class AlphaEncoder:
    """A CLIP with a convolution over masks."""

    dual: DualEncoder
    masks: "_Masks"

    @classmethod
    def of(cls, dual: DualEncoder, weight: Tensor | None = None) -> "AlphaEncoder":
        """A CLIP and the weights of its convolution over masks [D, 1, P, P]; None = zeros.

        What whole images are shown with is `alpha` in the model's configuration, `OFF` for a new convolution.
        """
        embeddings, config = dual.model.vision_model.embeddings, dual.model.config
        colors = embeddings.patch_embedding
        alpha = nn.Conv2d(1, colors.out_channels, colors.kernel_size, colors.stride, bias=False)
        with torch.no_grad():
            alpha.weight.zero_() if weight is None else alpha.weight.copy_(weight)
        embeddings.alpha = alpha.to(colors.weight.device, colors.weight.dtype)
        setattr(config, ALPHA, getattr(config, ALPHA, OFF))
        return cls(dual, _Masks(embeddings, getattr(config, ALPHA)))

    @classmethod
    def load(cls, folder: Path, device: str, dtype: torch.dtype) -> "AlphaEncoder":
        """That of a directory; a plain CLIP gets a convolution of zeros.

        Raises:
            ModelError: a missing or broken file, or a convolution that does not fit.
        """
        dual = DualEncoder.load(folder, device, dtype)
        if not hasattr(dual.model.config, ALPHA):
            return cls.of(dual)
        if getattr(dual.model.config, ALPHA) not in (ONES, OFF):
            raise ModelError(f"{folder}: {ALPHA} is {getattr(dual.model.config, ALPHA)!r}, neither {ONES} nor {OFF}")
        weight = load_tensors(weight_files(folder)).get(WEIGHT)
        colors = dual.model.vision_model.embeddings.patch_embedding.weight
        if weight is None or weight.shape != colors[:, :1].shape:
            raise ModelError(f"{folder}: no {WEIGHT}, or one that does not fit the patches")
        return cls.of(dual, weight)

    def image_features(self, images: Tensor, boxes: Sequence[Box | None]) -> Tensor:
        """uint8 [B, S, S, 3] and a box each, None = the whole image -> float32 [B, E] of length 1."""
        self.masks.boxes = boxes
        try:
            return self.dual.image_features(images)
        finally:
            self.masks.boxes = ()


class _Masks:
    """Adds the masks of `boxes` to the patches that an image tower embeds."""

    def __init__(self, embeddings: Any, whole: str) -> None:
        self.alpha, self.whole = embeddings.alpha, whole
        self.boxes: Sequence[Box | None] = ()
        embeddings.patch_embedding.register_forward_hook(self._add)

    def _add(self, module: nn.Module, inputs: tuple[Tensor], patches: Tensor) -> Tensor:
        side, weight = inputs[0].shape[-1], self.alpha.weight
        boxes = self.boxes or [None] * len(patches)
        masks = torch.stack([self._mask(box, side) for box in boxes])[:, None]
        seen: Tensor = self.alpha(masks.to(weight.device, weight.dtype))
        return patches + seen

    def _mask(self, box: Box | None, side: int) -> Tensor:
        """float32 [S, S], what the convolution sees; zeros add nothing."""
        if box is None and self.whole == OFF:
            return torch.zeros(side, side)
        return (mask_of(box or (0.0, 0.0, 1.0, 1.0), side) - MEAN) / STD


def mask_of(box: Box, side: int) -> Tensor:
    """Of every pixel the share that lies in a box, float32 [S, S]."""
    pixels = torch.arange(side, dtype=torch.float32)
    left, top, right, bottom = (value * side for value in box)
    across = (pixels + 1).clamp(max=right).sub(pixels.clamp(min=left)).clamp(min=0)
    down = (pixels + 1).clamp(max=bottom).sub(pixels.clamp(min=top)).clamp(min=0)
    return down[:, None] * across

"""BLIP-2 as a whole: a frozen image tower, the Q-Former, and in stage 2 a frozen language model behind it.

What is frozen is held aside: it is no submodule, so it has no gradients, is in no optimizer and no state dict, and
stays in eval mode when the rest trains.

Dimensions: B images, Q queries, N image tokens, D width of the Q-Former, L width of the language model.
"""

from typing import Any

import torch
from torch import Tensor, nn

from capfilt.models.med.cache import KeysValues
from capfilt.models.med.vision import VisionTransformer
from capfilt.models.qformer.config import QFormerConfig
from capfilt.models.qformer.model import QFormer


class Frozen:
    """Holds a module that nobody trains."""

    def __init__(self, module: Any) -> None:
        self.module: Any = module.requires_grad_(False).eval()

    def to(self, device: str | torch.device) -> None:
        """Move it; the module that holds this one does not."""
        self.module.to(device)


class Bridge(nn.Module):
    """From pixels to what the queries read, and in stage 2 to a soft prompt.

    Args:
        language_width: L; 0 = stage 1.
    """

    def __init__(self, config: QFormerConfig, vision: VisionTransformer, language_width: int = 0) -> None:
        super().__init__()
        self.vision = Frozen(vision)
        self.vision_norm = nn.LayerNorm(config.vision_width)  # trained: the tower's scale is not the Q-Former's
        self.qformer = QFormer(config)
        self.projection = nn.Linear(config.width, language_width) if language_width else None

    @torch.no_grad()
    def encode_image(self, pixels: Tensor) -> Tensor:
        """Normalized pixels [B, 3, S, S] -> states of the frozen tower [B, N, vision width]."""
        states: Tensor = self.vision.module(pixels)
        return states

    def project_image_kv(self, states: Tensor) -> list[KeysValues | None]:
        """Keys and values for the Q-Former, of states of the tower."""
        return self.qformer.project_image_kv(self.vision_norm(states))

    def soft_prompt(self, states: Tensor) -> Tensor:
        """[B, Q, L]: what a language model reads in place of words (BLIP-2, section 3.3)."""
        assert self.projection is not None
        prompt: Tensor = self.projection(self.qformer.read_image(self.project_image_kv(states)))
        return prompt

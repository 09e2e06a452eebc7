"""Momentum encoders and the queue of their features (ALBEF, section 3.2; MoCo): more negatives than a batch has.

Dimensions: B pairs of all workers together, Q places of the queue, E feature width.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from capfilt.models.med.model import MED


class MomentumEncoders(nn.Module):
    """A copy of the image tower and the text encoder that follows the trained ones slowly."""

    def __init__(self, model: MED, momentum: float) -> None:
        super().__init__()
        self.momentum = momentum
        self.model = copy.deepcopy(model)
        # What ITC does not read is dropped, or it would lie in memory and in every state file for nothing.
        self.model.itm_head, self.model.lm_head = nn.Identity(), nn.Identity()  # type: ignore[assignment]
        for layer in self.model.text.layers:
            layer.decoder, layer.cross = nn.Identity(), nn.Identity()
        self.requires_grad_(False)

    @torch.no_grad()
    def follow(self, model: MED) -> None:
        """Move every parameter by 1 - momentum towards the trained one."""
        trained = dict(model.named_parameters())
        for name, own in self.model.named_parameters():
            own.lerp_(trained[name], 1 - self.momentum)

    @torch.no_grad()
    def features(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """ITC features of images and of texts, each [rows, E]."""
        return self.model.image_feature(self.model.encode_image(pixels)), self.model.text_feature(ids, mask)


class FeatureQueue(nn.Module):
    """The features of the last Q pairs, the oldest replaced first. Places are empty at first and then not compared.

    The queue is a ring, so Q need be no multiple of B; of a batch of more than Q pairs it takes the last Q.
    """

    images: Tensor
    texts: Tensor
    codes: Tensor

    def __init__(self, places: int, width: int) -> None:
        super().__init__()
        self.register_buffer("images", torch.zeros(places, width))
        self.register_buffer("texts", torch.zeros(places, width))
        self.register_buffer("codes", torch.zeros(places, 2, dtype=torch.int64))
        self.pointer = 0
        self.filled = 0

    def candidates(self, images: Tensor, texts: Tensor, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What pairs are compared with: those given, [B, E], [B, E] and [B, 2], and then all in the queue."""
        end = self.filled
        return (
            torch.cat((images, self.images[:end])),
            torch.cat((texts, self.texts[:end])),
            torch.cat((codes, self.codes[:end])),
        )

    @torch.no_grad()
    def push(self, images: Tensor, texts: Tensor, codes: Tensor) -> None:
        """Take in B pairs."""
        size = len(self.codes)
        if not size:
            return
        images, texts, codes = images[-size:], texts[-size:], codes[-size:]
        places = (self.pointer + torch.arange(len(codes), device=self.codes.device)) % size
        self.images[places], self.texts[places], self.codes[places] = images.float(), texts.float(), codes
        self.pointer = (self.pointer + len(codes)) % size
        self.filled = min(size, self.filled + len(codes))

    def get_extra_state(self) -> dict[str, int]:
        """Where the ring is; part of the state dict."""
        return {"pointer": self.pointer, "filled": self.filled}

    def set_extra_state(self, state: Any) -> None:
        self.pointer, self.filled = state["pointer"], state["filled"]

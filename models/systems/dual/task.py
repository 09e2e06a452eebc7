"""One training step of a dual encoder: pixels and texts in, one contrastive loss out.

Dimensions: B pairs of all workers together, b of this worker, E feature width, N patches, K of them kept.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from capfilt.models.judges.dual_encoder import DualEncoder
from capfilt.models.systems.dual.system import Contrast
from capfilt.models.training.batch import Batch, pair_codes, same_pairs
from capfilt.models.training.frozen import locked
from capfilt.models.training.group import Group
from capfilt.models.training.objectives import itc_loss, sigmoid_loss
from capfilt.models.training.task import Task

MAX_SCALE = math.log(100)
"""The highest logarithm of the scale (CLIP, section 2.5): beyond it training is unstable."""
CACHED_BYTES = 4 << 30
"""Of features of a locked tower that are remembered at most."""


class DualTask(Task):
    """A dual encoder with its loss over the batches of all workers."""

    def __init__(
        self,
        encoder: DualEncoder,
        wanted: Contrast,
        seed: int = 0,
        group: Group | None = None,
        remembers: bool = True,  # what a locked tower makes of an image, which then must always look the same
    ) -> None:
        super().__init__(seed, group)
        self.encoder = encoder
        self.model: nn.Module = encoder.model
        self.wanted = wanted
        self.remembers = remembers
        self.kept: Tensor | None = None  # int64 [rows, K], of the images that go through the tower now
        self.cache: dict[int, Tensor] = {}  # features of a locked tower, by image
        self.is_locked = encoder.model.vision_model in dict(locked(self)).values()
        encoder.model.vision_model.embeddings.register_forward_hook(self._drop)
        # Of a model that has none, it is no part of the checkpoint: a judge's cosine does not need it.
        lacks = wanted.loss == "sigmoid" and not hasattr(encoder.model, "logit_bias")
        self.bias = nn.Parameter(torch.tensor(wanted.bias)) if lacks else None

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The mean over this worker's pairs, each contrasted with those of all workers."""
        part = self.group.part(len(batch.texts))
        image, text = self._image(batch, part), self._in_parts(self.encoder.text_features, batch.texts[part])
        codes = pair_codes(batch.keys, batch.texts).to(image.device)
        same, scale = same_pairs(codes[part], codes), self.encoder.model.logit_scale.exp()
        by_image = scale * image @ self.group.gather(text).T
        if self.wanted.loss == "sigmoid":
            bias = self.encoder.model.logit_bias if self.bias is None else self.bias
            loss = sigmoid_loss(by_image + bias, same)
        else:
            loss = itc_loss(by_image, scale * text @ self.group.gather(image).T, same, same)
        return loss, {"itc": loss.detach()}

    @torch.no_grad()
    def after_update(self) -> None:
        """The scale stays below 100, as in CLIP; the sigmoid loss needs no bound."""
        if self.wanted.loss == "softmax":
            self.encoder.model.logit_scale.clamp_(0.0, MAX_SCALE)

    def _image(self, batch: Batch, part: slice) -> Tensor:
        """Features [b, E] of this worker's images."""
        if self.is_locked:
            return self._remembered(batch.images, batch.keys[part] if self.remembers else [])
        kept = self._draw_kept(len(batch.texts))
        if kept is None:
            return self._in_parts(self.encoder.image_features, batch.images)
        return self._in_parts(self._seen, batch.images, kept[part])

    def _seen(self, images: Tensor, kept: Tensor) -> Tensor:
        self.kept = kept.to(self.encoder.model.device)
        try:
            return self.encoder.image_features(images)
        finally:
            self.kept = None

    def _in_parts(self, encode: Callable[..., Tensor], *rows: Any) -> Tensor:
        """What `encode` makes of the rows, some at a time if so wanted.

        Nothing of a part is kept but its features; it is computed again for the backward pass (GradCache, Gao et al.
        2021), so that a batch of any size fits, with all of its negatives.
        """
        size, count = self.wanted.part, len(rows[0])
        if not size or size >= count:
            return encode(*rows)
        parts = [[one[start : start + size] for one in rows] for start in range(0, count, size)]
        return torch.cat([checkpoint(encode, *own, use_reentrant=False) for own in parts])

    def _draw_kept(self, rows: int) -> Tensor | None:
        """int64 [B, K] of the patches of each image that the tower sees; None where it sees all."""
        if not self.wanted.drop:
            return None
        config = self.encoder.model.config.vision_config
        count = (config.image_size // config.patch_size) ** 2
        left = max(1, int(count * (1 - self.wanted.drop)))
        return torch.rand(rows, count, generator=self.generator).argsort(1)[:, :left]

    def _drop(self, module: nn.Module, inputs: Any, tokens: Tensor) -> Tensor | None:
        """Of embedded patches with their positions, [rows, 1 + N, E], those that are kept, and [CLS]."""
        if self.kept is None:
            return None
        places = self.kept[..., None].expand(-1, -1, tokens.shape[-1])
        return torch.cat((tokens[:, :1], tokens[:, 1:].gather(1, places)), dim=1)

    @torch.no_grad()
    def _remembered(self, images: Tensor, keys: list[int]) -> Tensor:
        """Features [b, E] of a locked tower, computed once an image."""
        device = self.encoder.model.device
        if keys and all(key in self.cache for key in keys):
            return torch.stack([self.cache[key] for key in keys]).to(device)
        # All rows, the known ones too: their number may change last bits, and a resumed training starts without any.
        found = self._forwarded(images)
        if keys and len(self.cache) * found[0].nbytes < CACHED_BYTES:
            self.cache |= dict(zip(keys, found.cpu(), strict=True))
        return found

    def _forwarded(self, images: Tensor) -> Tensor:
        size = self.wanted.part or len(images)
        return torch.cat([self.encoder.image_features(own) for own in torch.split(images, size)])

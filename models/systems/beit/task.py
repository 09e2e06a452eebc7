"""One training step of BEiT: hide blocks of patches, and name the visual token of each."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from capfilt.models.normalize import normalize
from capfilt.models.systems.beit.block_mask import block_mask
from capfilt.models.systems.beit.codes import Codes
from capfilt.models.systems.beit.system import Codebook
from capfilt.models.systems.parts.crops import Crops, cropped
from capfilt.models.systems.parts.tower_info import TowerInfo
from capfilt.models.training.batch import Batch
from capfilt.models.training.frozen import lock
from capfilt.models.training.group import Group
from capfilt.models.training.task import Task


class BEiTTask(Task):
    """A BEiT with its objective: cross-entropy of the visual tokens of hidden patches."""

    def __init__(
        self,
        model: Any,
        teacher: Any,
        its: TowerInfo,
        codes: Codes,
        wanted: Codebook,
        seed: int = 0,
        group: Group | None = None,
    ) -> None:
        super().__init__(seed, group)
        self.model, self.teacher, self.its, self.codes, self.wanted = model, teacher, its, codes, wanted
        self.crops = Crops(least=wanted.crop, mirrored=wanted.crop < 1)
        self.side = int(model.config.image_size) // int(model.config.patch_size)
        lock(teacher)

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss per hidden patch of all workers, the share named right, and the share of tokens in use."""
        rows = len(batch.images) * self.group.size
        boxes = self.crops.draw(rows, self.generator)
        masks = torch.stack([block_mask(self.side, self.wanted.ratio, self.generator) for _ in range(rows)])
        part = self.group.part(rows)
        device = self.model.lm_head.weight.device
        images = cropped(batch.images.to(device), boxes[part])
        tokens, mask = self._tokens(images, batch.step), masks[part].to(device)
        logits = self.model(normalize(images, torch.float32), bool_masked_pos=mask).logits[mask]
        # Over the hidden patches of all workers: their means alone would weigh a patch by how few others are hidden.
        loss = F.cross_entropy(logits, tokens[mask], reduction="sum") * self.group.size / masks.sum()
        right = (logits.argmax(-1) == tokens[mask]).double().mean()
        used = torch.bincount(tokens.view(-1), minlength=len(self.codes.centers)).gt(0).double().mean()
        return loss, {"name": loss.detach(), "right": right, "codes_used": used}

    @torch.no_grad()
    def _tokens(self, images: Tensor, step: int) -> Tensor:
        """int64 [b, N]: the visual token of every patch of uint8 images [b, S, S, 3]."""
        features = teacher_features(self.teacher, self.its, images)
        if step < self.wanted.learned:
            self.codes.learn(features.flatten(0, 1), self.generator, self.group)
        found: Tensor = self.codes(features.flatten(0, 1)).view(features.shape[:2])
        return found


def teacher_features(teacher: Any, its: TowerInfo, images: Tensor) -> Tensor:
    """Patch features [B, N, D] of uint8 images [B, S, S, 3], each of mean 0 and variance 1.

    Normalized, for the last states of some towers (CLIP's) have values in single places that outweigh all others.
    """
    pixels = normalize(images, torch.float32, its.mean, its.std)
    if images.shape[1] != its.side:
        pixels = F.interpolate(pixels, (its.side, its.side), mode="bicubic", antialias=True, align_corners=False)
    states: Tensor = teacher(pixel_values=pixels).last_hidden_state[:, 1:]
    return F.layer_norm(states, states.shape[-1:])

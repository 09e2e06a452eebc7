"""One training step of Alpha-CLIP: images with a box each and texts in, ITC out."""

from collections.abc import Mapping

import torch
from torch import Tensor

from capfilt.models.judges.alpha_encoder import AlphaEncoder
from capfilt.models.systems.dual.system import Contrast
from capfilt.models.systems.dual.task import DualTask
from capfilt.models.training.batch import Batch
from capfilt.models.training.frozen import lock
from capfilt.models.training.group import Group


class AlphaTask(DualTask):
    """A dual encoder whose text tower and temperature stay as they are.

    Args:
        rest: factor of the learning rate of the image tower without the convolution over masks; 0 = it is locked.
    """

    def __init__(self, encoder: AlphaEncoder, rest: float, seed: int = 0, group: Group | None = None) -> None:
        super().__init__(encoder.dual, Contrast(), seed, group)
        self.alpha, self.rest = encoder, rest
        model = encoder.dual.model
        model.logit_scale.requires_grad_(False)
        for part in (model.text_model, model.text_projection):
            lock(part)
        if not rest:
            self._lock_tower()

    def rates(self) -> Mapping[str, float]:
        """See `Task.rates`."""
        tower = ("model.vision_model.", "model.visual_projection.")
        return {name: self.rest for name in tower} | {"model.vision_model.embeddings.alpha.": 1.0}

    @torch.no_grad()
    def after_update(self) -> None:
        """The scale is that of the CLIP it started from."""

    def _lock_tower(self) -> None:
        tower = self.alpha.dual.model.vision_model
        tower.embeddings.class_embedding.requires_grad_(False)
        inside = (part for name, part in tower.embeddings.named_children() if name != "alpha")
        beside = (part for name, part in tower.named_children() if name != "embeddings")
        for part in (*inside, *beside, self.alpha.dual.model.visual_projection):
            lock(part)

    def _image(self, batch: Batch, part: slice) -> Tensor:
        """Features [b, E] of this worker's images, each under the mask of its box."""
        return self.alpha.image_features(batch.images, batch.boxes[part])

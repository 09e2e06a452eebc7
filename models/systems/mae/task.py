"""One training step of a masked autoencoder: hide most patches of an image, and rebuild them from the rest."""

from typing import Any

import torch
from torch import Tensor

from capfilt.models.normalize import normalize
from capfilt.models.systems.mae.system import Masking
from capfilt.models.systems.parts.crops import Crops, cropped
from capfilt.models.training.batch import Batch
from capfilt.models.training.group import Group
from capfilt.models.training.task import Task


class MAETask(Task):
    """A masked autoencoder with its objective: the mean squared error of the hidden patches."""

    def __init__(self, model: Any, wanted: Masking, seed: int = 0, group: Group | None = None) -> None:
        super().__init__(seed, group)
        self.model = model
        self.crops = Crops(least=wanted.crop, mirrored=wanted.crop < 1)
        config = model.config
        self.patches = (int(config.image_size) // int(config.patch_size)) ** 2

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The error per value of hidden patches, of this worker's part."""
        rows = len(batch.images) * self.group.size
        # Drawn for the images of all workers, so that their number changes nothing; the class would draw its own noise
        # from torch's global stream.
        boxes = self.crops.draw(rows, self.generator)
        noise = torch.rand(rows, self.patches, generator=self.generator)
        part = self.group.part(rows)
        device = self.model.vit.embeddings.cls_token.device
        images = cropped(batch.images.to(device), [boxes[row] for row in range(rows)[part]])
        found = self.model(normalize(images, torch.float32), noise=noise[part].to(device))
        loss: Tensor = found.loss
        return loss, {"rebuild": loss.detach()}

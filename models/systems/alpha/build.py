"""Alpha-CLIP in training: a CLIP of a checkpoint, or an earlier Alpha-CLIP."""

from collections.abc import Iterable

import torch

from capfilt.models.judges.alpha_encoder import AlphaEncoder
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.alpha.system import Regions
from capfilt.models.systems.alpha.task import AlphaTask
from capfilt.models.systems.dual.build import processor
from capfilt.models.systems.parts.folder import save_folder
from capfilt.models.training.group import Group
from capfilt.models.training.system import Asked, TrainJob


def build(asked: Asked, texts: Iterable[str], group: Group) -> TrainJob:
    """See `system.SystemCode`."""
    encoder = AlphaEncoder.load(locate(asked.model.start), "cpu", torch.float32)
    model = encoder.dual.model.to(asked.device)
    if asked.model.checkpointing:
        model.gradient_checkpointing_enable()
    task = AlphaTask(encoder, asked.section(Regions).rest, asked.seed, group).to(asked.device)
    images_and_words = processor(encoder.dual, int(model.config.vision_config.image_size))
    return TrainJob(task, lambda folder: save_folder(folder, model, images_and_words, asked.stored_dtype))

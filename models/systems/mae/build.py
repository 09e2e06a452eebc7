"""A masked autoencoder in training: a new one, or one of a checkpoint."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from capfilt.models.formats.guarded import load_model
from capfilt.models.med.vision import sines
from capfilt.models.normalize import CLIP_MEAN, CLIP_STD
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.mae.system import SIZES, MAESize, Masking
from capfilt.models.systems.mae.task import MAETask
from capfilt.models.systems.parts.folder import save_folder, squash_processor
from capfilt.models.training.group import Group
from capfilt.models.training.system import Asked, TrainJob


def build(asked: Asked, texts: Iterable[str], group: Group) -> TrainJob:
    """See `system.SystemCode`; no text is read."""
    wanted = asked.section(Masking)
    if asked.model.start:
        model = load_model("ViTMAEForPreTraining", locate(asked.model.start), "cpu", torch.float32)
    else:
        model = new_mae(SIZES[asked.model.size], asked.model.image_size)
    model.config.mask_ratio, model.config.norm_pix_loss = wanted.ratio, wanted.norm
    if asked.model.checkpointing:
        model.gradient_checkpointing_enable()
    if asked.model.compile:
        model.vit.compile()
    task = MAETask(model.to(asked.device), wanted, asked.seed, group)
    # The pixels of a MED, which then takes the tower as it is.
    processor = squash_processor(int(model.config.image_size), CLIP_MEAN, CLIP_STD)
    return TrainJob(task, lambda folder: save_folder(folder, model, processor, asked.stored_dtype))


def new_mae(size: MAESize, image_size: int = 0) -> Any:
    """A random `ViTMAEForPreTraining`, started as the paper's code does."""
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    config: Any = ViTMAEConfig
    model: Any = ViTMAEForPreTraining(
        config(
            image_size=image_size or size.image_size,
            patch_size=size.patch_size,
            hidden_size=size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=4 * size.width,
            decoder_hidden_size=size.decoder_width,
            decoder_num_hidden_layers=size.decoder_layers,
            decoder_num_attention_heads=size.decoder_heads,
            decoder_intermediate_size=4 * size.decoder_width,
            layer_norm_eps=1e-5,  # a MED's, so that its image tower is the same function
        )
    )
    _start(model)
    return model


@torch.no_grad()
def _start(model: Any) -> None:
    """Values at the start: a fresh model of the library has positions of 0, so all patches look alike to it.

    Its class sets them only on the way through `from_pretrained`.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    embeddings, decoder = model.vit.embeddings, model.decoder
    patch = embeddings.patch_embeddings.projection
    nn.init.xavier_uniform_(patch.weight.flatten(1))
    nn.init.zeros_(patch.bias)
    for token in (embeddings.cls_token, decoder.mask_token):
        nn.init.normal_(token, std=0.02)
    side = int(model.config.image_size) // int(model.config.patch_size)
    for positions in (embeddings.position_embeddings, decoder.decoder_pos_embed):
        positions.copy_(grid_positions(side, positions.shape[-1]))


def grid_positions(side: int, width: int) -> Tensor:
    """2-D sines [1, 1 + side * side, width] in the order of published MAE weights: columns first, then rows."""
    rows_first = sines(side, width)
    return rows_first.roll(width // 2, dims=-1)

"""A BEiT in training: a new one, or one of a checkpoint with its visual tokens."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from capfilt.core.disk.put_in_place import put_in_place
from capfilt.models.formats.guarded import load_model, load_tensors
from capfilt.models.normalize import CLIP_MEAN, CLIP_STD
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.beit.codes import Codes
from capfilt.models.systems.beit.system import CODEBOOK, BEiTSize, Codebook, shape_of
from capfilt.models.systems.beit.task import BEiTTask
from capfilt.models.systems.parts.folder import save_folder, squash_processor
from capfilt.models.systems.parts.tower_info import tower_info
from capfilt.models.systems.parts.towers import load_tower
from capfilt.models.training.group import Group
from capfilt.models.training.system import Asked, TrainJob


def build(asked: Asked, texts: Iterable[str], group: Group) -> TrainJob:
    """See `system.SystemCode`; no text is read."""
    wanted, (size, _) = asked.section(Codebook), shape_of(asked.model)
    its = tower_info(wanted.teacher, "codebook.teacher")
    teacher = load_tower(its).to(asked.device)
    codes = Codes(wanted.codes, int(teacher.config.hidden_size))
    if asked.model.start:
        folder = locate(asked.model.start)
        model = load_model("BeitForMaskedImageModeling", folder, "cpu", torch.float32)
        codes = _loaded(folder)
    else:
        model = new_beit(size, wanted.codes)
    if asked.model.checkpointing:
        model.gradient_checkpointing_enable()
    if asked.model.compile:
        model.beit.compile()
    task = BEiTTask(model, teacher, its, codes, wanted, asked.seed, group).to(asked.device)
    processor = squash_processor(size.image_size, CLIP_MEAN, CLIP_STD)

    def save(folder: Path) -> None:
        _save_codes(folder, codes)
        save_folder(folder, model, processor, asked.stored_dtype)

    return TrainJob(task, save)


def _save_codes(folder: Path, codes: Codes) -> None:
    from safetensors.torch import save_file

    draft = folder / f".{CODEBOOK}"
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"centers": codes.centers.cpu().contiguous()}, draft)
    put_in_place(draft, folder / CODEBOOK)


def _loaded(folder: Path) -> Codes:
    centers = load_tensors([folder / CODEBOOK])["centers"]
    codes = Codes(*centers.shape)
    codes.centers, codes.started = centers, True
    return codes


def new_beit(size: BEiTSize, codes: int) -> Any:
    """A random `BeitForMaskedImageModeling`, started as the paper's code does.

    With absolute positions instead of the paper's relative ones, so that the tower is a plain ViT which a MED and other
    systems take. The library's defaults have neither, nor a mask token.
    """
    from transformers import BeitConfig, BeitForMaskedImageModeling

    config: Any = BeitConfig
    model: Any = BeitForMaskedImageModeling(
        config(
            image_size=size.image_size,
            patch_size=size.patch_size,
            hidden_size=size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=4 * size.width,
            vocab_size=codes,
            use_mask_token=True,
            use_absolute_position_embeddings=True,
            layer_scale_init_value=size.layer_scale,
            layer_norm_eps=1e-5,  # a MED's, so that its image tower is the same function
        )
    )
    _start(model)
    return model


@torch.no_grad()
def _start(model: Any) -> None:
    """Values at the start that the library leaves out: tokens of 0, and no layer scaled down by its depth."""
    embeddings = model.beit.embeddings
    for token in (embeddings.cls_token, embeddings.mask_token, embeddings.position_embeddings):
        nn.init.trunc_normal_(token, std=0.02, a=-0.02, b=0.02)
    for depth, layer in enumerate(model.beit.layers, start=1):
        for name, parameter in layer.named_parameters():
            if name.endswith(("attention.o_proj.weight", "mlp.fc2.weight")):
                parameter.div_((2 * depth) ** 0.5)

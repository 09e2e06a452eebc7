"""A LLaVA in training: a tower and a language model with a new connector, or a checkpoint."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from capfilt.models.formats.checkpoint import read_config
from capfilt.models.formats.guarded import load_model, load_part
from capfilt.models.formats.image_processor import read_image_processor
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.llava.system import NEXT, TUNED, Llava
from capfilt.models.systems.llava.task import LlavaTask
from capfilt.models.systems.llava.tiles import most_tokens, patches, pinpoints
from capfilt.models.systems.llava.turns import IMAGE, PLAIN, TALK
from capfilt.models.systems.parts.folder import save_folder, squash_processor
from capfilt.models.systems.parts.tower_info import tower_info
from capfilt.models.systems.parts.towers import load_tower
from capfilt.models.training.frozen import lock
from capfilt.models.training.group import Group
from capfilt.models.training.system import Asked, TrainJob

LAYER: Final = -2
"""The hidden states that the connector reads: those before the tower's last layer."""


def build(asked: Asked, texts: Iterable[str], group: Group) -> TrainJob:
    """See `system.SystemCode`; texts are read by the language model's own tokenizer."""
    wanted, tuned = asked.section(Llava), asked.system.name == TUNED
    if asked.model.start:
        folder = locate(asked.model.start)
        model = _started(folder, wanted.tiles)
        words, pixels = load_part("AutoProcessor", folder).tokenizer, read_image_processor(folder)
        mean, std = pixels["image_mean"], pixels["image_std"]
    else:
        tower, folder = tower_info(asked.model.vision), locate(asked.model.language)
        words = load_part("AutoTokenizer", folder)
        language = load_model("AutoModelForCausalLM", folder, "cpu", torch.float32)
        model = connect(load_tower(tower), language, words, wanted.connector == "linear", wanted.tiles)
        mean, std = tower.mean, tower.std
    _lock(model, tuned)
    if asked.model.checkpointing:
        model.gradient_checkpointing_enable()
    turn = TALK if tuned else PLAIN
    processor = processor_of(model, words, mean, std, turn.template)
    task = LlavaTask(model.to(asked.device), processor, turn, wanted.max_tokens, _room(model), asked.seed, group)
    return TrainJob(task, lambda out: save_folder(out, model, processor, asked.stored_dtype))


def _started(folder: Path, tiles: bool) -> Any:
    """The model of a folder; of a LLaVA that reads no tiles its parts, in one that does, where this is asked for."""
    kind = "LlavaNext" if read_config(folder)["model_type"] == NEXT else "Llava"
    model = load_model(f"{kind}ForConditionalGeneration", folder, "cpu", torch.float32)
    if not tiles or kind == "LlavaNext":
        return model
    old = model.config
    made = _new(old.vision_config, old.text_config, old.image_token_index, old.projector_hidden_act, tiles)
    for part in ("vision_tower", "language_model", "multi_modal_projector"):
        setattr(made.model, part, getattr(model.model, part))
    made.lm_head = model.lm_head
    return made


def connect(tower: Any, language: Any, words: Any, linear: bool, tiles: bool = False) -> Any:
    """A LLaVA of a tower and a causal language model, with a random connector."""
    words.add_special_tokens({"additional_special_tokens": [IMAGE]}, replace_extra_special_tokens=False)
    if words.pad_token is None:
        words.pad_token = words.eos_token
    if len(words) > language.get_input_embeddings().num_embeddings:
        language.resize_token_embeddings(len(words), mean_resizing=False)
    # The library's connector always has two layers; LLaVA 1 has one, so the second does nothing.
    act = "linear" if linear else "gelu"
    model = _new(tower.config, language.config, words.convert_tokens_to_ids(IMAGE), act, tiles)
    model.model.vision_tower, model.model.language_model = tower, language.base_model
    model.lm_head = language.get_output_embeddings()
    if linear:
        second = model.model.multi_modal_projector.linear_2
        nn.init.eye_(second.weight)
        nn.init.zeros_(second.bias)
    return model


def _new(vision: Any, text: Any, image: int, act: str, tiles: bool) -> Any:
    """A model whose tower and language model are still random."""
    import transformers

    library: Any = transformers
    kind = "LlavaNext" if tiles else "Llava"
    config = getattr(library, f"{kind}Config")(
        vision_config=vision,
        text_config=text,
        image_token_index=image,
        image_seq_length=patches(vision.image_size, vision.patch_size),
        projector_hidden_act=act,
        vision_feature_layer=LAYER,
        vision_feature_select_strategy="default",  # patches without [CLS]
        **({"image_grid_pinpoints": pinpoints(vision.image_size)} if tiles else {}),
    )
    return getattr(library, f"{kind}ForConditionalGeneration")(config)


def _lock(model: Any, tuned: bool) -> None:
    """Stage 1 trains the connector alone, stage 2 the language model too."""
    lock(model.model.vision_tower)
    if not tuned:
        lock(model.model.language_model)
        lock(model.lm_head)
    if model.config.projector_hidden_act == "linear":
        lock(model.model.multi_modal_projector.linear_2)


def _room(model: Any) -> int:
    """Positions of the language model that the largest image leaves; 0 = it has no limit."""
    positions, vision = getattr(model.config.text_config, "max_position_embeddings", None), model.config.vision_config
    tiled, shape = model.config.model_type == NEXT, (vision.image_size, vision.patch_size)
    return int(positions) - (most_tokens(*shape) if tiled else patches(*shape)) if positions else 0


def processor_of(model: Any, words: Any, mean: Any, std: Any, template: str) -> Any:
    """What turns an image and a prompt into the inputs of training."""
    import transformers

    library: Any = transformers
    side, tiled = model.config.vision_config.image_size, model.config.model_type == NEXT
    images = squash_processor(side, mean, std)
    if tiled:
        size = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
        points = model.config.image_grid_pinpoints
        images = library.LlavaNextImageProcessor(
            **size, image_grid_pinpoints=points, image_mean=list(mean), image_std=list(std)
        )
    make, vision = library.LlavaNextProcessor if tiled else library.LlavaProcessor, model.config.vision_config
    return make(
        image_processor=images,
        tokenizer=words,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # [CLS]; without it the class counts one token too few for an image
        chat_template=template,
    )

"""A LLaVA in training: a tower and a language model with a new connector, or a checkpoint."""

from collections.abc import Iterable
from typing import Any, Final

import torch
from torch import nn

from capfilt.models.formats.guarded import load_model, load_part
from capfilt.models.formats.image_processor import read_image_processor
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.llava.system import TUNED, Llava
from capfilt.models.systems.llava.task import LlavaTask
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
        model = load_model("LlavaForConditionalGeneration", folder, "cpu", torch.float32)
        words, pixels = load_part("AutoProcessor", folder).tokenizer, read_image_processor(folder)
        mean, std = pixels["image_mean"], pixels["image_std"]
    else:
        tower, folder = tower_info(asked.model.vision), locate(asked.model.language)
        words = load_part("AutoTokenizer", folder)
        language = load_model("AutoModelForCausalLM", folder, "cpu", torch.float32)
        model = connect(load_tower(tower), language, words, linear=wanted.connector == "linear")
        mean, std = tower.mean, tower.std
    _lock(model, tuned)
    if asked.model.checkpointing:
        model.gradient_checkpointing_enable()
    turn = TALK if tuned else PLAIN
    task = LlavaTask(model.to(asked.device), words, turn, (mean, std), wanted.max_tokens, asked.seed, group)
    processor = processor_of(model, words, mean, std, turn.template)
    return TrainJob(task, lambda out: save_folder(out, model, processor, asked.stored_dtype))


def connect(tower: Any, language: Any, words: Any, linear: bool) -> Any:
    """A `LlavaForConditionalGeneration` of a tower and a causal language model, with a random connector."""
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    words.add_special_tokens({"additional_special_tokens": [IMAGE]}, replace_extra_special_tokens=False)
    if words.pad_token is None:
        words.pad_token = words.eos_token
    if len(words) > language.get_input_embeddings().num_embeddings:
        language.resize_token_embeddings(len(words), mean_resizing=False)
    config: Any = LlavaConfig
    model: Any = LlavaForConditionalGeneration(
        config(
            vision_config=tower.config,
            text_config=language.config,
            image_token_index=words.convert_tokens_to_ids(IMAGE),
            image_seq_length=(tower.config.image_size // tower.config.patch_size) ** 2,
            # The library's connector always has two layers; LLaVA 1 has one, so the second does nothing.
            projector_hidden_act="linear" if linear else "gelu",
            vision_feature_layer=LAYER,
            vision_feature_select_strategy="default",  # patches without [CLS]
        )
    )
    model.model.vision_tower, model.model.language_model = tower, language.base_model
    model.lm_head = language.get_output_embeddings()
    if linear:
        second = model.model.multi_modal_projector.linear_2
        nn.init.eye_(second.weight)
        nn.init.zeros_(second.bias)
    return model


def _lock(model: Any, tuned: bool) -> None:
    """Stage 1 trains the connector alone, stage 2 the language model too."""
    lock(model.model.vision_tower)
    if not tuned:
        lock(model.model.language_model)
        lock(model.lm_head)
    if model.config.projector_hidden_act == "linear":
        lock(model.model.multi_modal_projector.linear_2)


def processor_of(model: Any, words: Any, mean: Any, std: Any, template: str) -> Any:
    """What turns an image and a prompt into the inputs of training."""
    from transformers import LlavaProcessor

    vision, make = model.config.vision_config, LlavaProcessor
    made: Any = make
    return made(
        image_processor=squash_processor(vision.image_size, mean, std),
        tokenizer=words,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,  # [CLS]; without it the class counts one token too few for an image
        chat_template=template,
    )

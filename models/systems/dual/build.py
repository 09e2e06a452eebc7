"""A dual encoder in training: a new one, one on an image tower, or one of a checkpoint."""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from capfilt.models.judges.dual_encoder import DualEncoder
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.dual.system import SIZES, Contrast, DualSize
from capfilt.models.systems.dual.task import DualTask
from capfilt.models.systems.parts.folder import save_folder, squash_processor
from capfilt.models.systems.parts.tower_info import tower_info
from capfilt.models.systems.parts.towers import load_tower
from capfilt.models.systems.parts.words import own_words
from capfilt.models.training.frozen import lock
from capfilt.models.training.group import Group
from capfilt.models.training.system import Asked, TrainJob


def build(asked: Asked, texts: Iterable[str], group: Group) -> TrainJob:
    """See `system.SystemCode`."""
    wanted = asked.section(Contrast)
    if not wanted.bias:
        # One pair of a row fits, the others do not; SigLIP's -10 (section 3) is that for its batch of 32,768.
        wanted = replace(wanted, bias=-math.log(asked.batch))
    encoder = _encoder(asked, wanted, texts)
    encoder.model.to(asked.device)
    if asked.model.checkpointing:
        encoder.model.gradient_checkpointing_enable()
    if asked.model.compile:
        encoder.model.vision_model.compile()
    task = DualTask(encoder, wanted, asked.seed, group, remembers=not asked.augments).to(asked.device)
    side = int(encoder.model.config.vision_config.image_size)
    both = processor(encoder, side)
    return TrainJob(task, lambda folder: save_folder(folder, encoder.model, both, asked.stored_dtype))


def _encoder(asked: Asked, wanted: Contrast, texts: Iterable[str]) -> DualEncoder:
    if asked.model.start:
        encoder = DualEncoder.load(locate(asked.model.start), "cpu", torch.float32)
        if wanted.lock:
            _lock(encoder.model)
        return encoder
    size = SIZES[asked.model.size]
    words = own_words(texts, size.max_tokens)
    if asked.model.vision:
        tower = tower_info(asked.model.vision)
        model = on_tower(load_tower(tower), size, words, wanted)
        return DualEncoder(model, words, tower.mean, tower.std)
    size = replace(size, image_size=asked.model.image_size or size.image_size)
    return DualEncoder((new_siglip if wanted.loss == "sigmoid" else new_clip)(size, words, wanted), words)


def new_clip(size: DualSize, words: Any, wanted: Contrast) -> Any:
    """A random `CLIPModel`."""
    from transformers import CLIPConfig, CLIPModel

    config: Any = CLIPConfig
    vision, text = _shapes(size, words)
    shape = config(
        vision_config=vision | {"hidden_act": "gelu"},
        # With these, for a text is pooled at the first end, and the default of both towers is OpenAI's quick GELU.
        text_config=text | {"hidden_act": "gelu", "eos_token_id": words.eos_token_id},
        projection_dim=size.projection,
        logit_scale_init_value=-math.log(wanted.temperature),
    )
    return CLIPModel(shape)


def new_siglip(size: DualSize, words: Any, wanted: Contrast) -> Any:
    """A random `SiglipModel`; its features are as wide as its image tower."""
    from transformers import SiglipConfig, SiglipModel

    config: Any = SiglipConfig
    vision, text = _shapes(size, words)
    made: Any = SiglipModel(config(vision_config=vision, text_config=text | {"projection_size": size.vision_width}))
    with torch.no_grad():  # the library leaves both at 0
        made.logit_scale.fill_(-math.log(wanted.temperature))
        made.logit_bias.fill_(wanted.bias)
    return made


def on_tower(tower: Any, size: DualSize, words: Any, wanted: Contrast) -> Any:
    """A `VisionTextDualEncoderModel` on an image tower, with a new text tower as BERT has it.

    A locked tower's output is the feature itself, as in LiT: the text is projected to its width.
    """
    from transformers import BertConfig, BertModel, VisionTextDualEncoderConfig, VisionTextDualEncoderModel

    make, shape = VisionTextDualEncoderConfig.from_vision_text_configs, BertConfig
    still: dict[str, Any] = {
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }  # as the text towers of CLIP and LiT
    text: Any = BertModel(shape(**_shapes(size, words)[1], **still))
    width = tower.config.hidden_size if wanted.lock else size.projection
    config: Any = make(tower.config, text.config, projection_dim=width)
    config.logit_scale_init_value = -math.log(wanted.temperature)
    model: Any = VisionTextDualEncoderModel(config, tower, text)
    if wanted.lock:
        torch.nn.init.eye_(model.visual_projection.weight)
        _lock(model)
    return model


def _lock(model: Any) -> None:
    for part in (model.vision_model, getattr(model, "visual_projection", None)):
        if part is not None:
            lock(part)


def _shapes(size: DualSize, words: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    vision = {
        "hidden_size": size.vision_width,
        "intermediate_size": 4 * size.vision_width,
        "num_hidden_layers": size.vision_layers,
        "num_attention_heads": size.vision_heads,
        "image_size": size.image_size,
        "patch_size": size.patch_size,
        "projection_dim": size.projection,
    }
    text = {
        "vocab_size": len(words),
        "hidden_size": size.text_width,
        "intermediate_size": 4 * size.text_width,
        "num_hidden_layers": size.text_layers,
        "num_attention_heads": size.text_heads,
        "max_position_embeddings": size.max_tokens,
        "projection_dim": size.projection,
        "pad_token_id": words.pad_token_id,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
    }
    return vision, text


def processor(encoder: DualEncoder, side: int) -> Any:
    """What makes of images and texts what the towers take; images are squashed, as training shows them."""
    import transformers

    names = {"clip": "CLIP", "siglip": "Siglip"}
    name = f"{names.get(encoder.model.config.model_type, 'VisionTextDualEncoder')}Processor"
    images = squash_processor(side, encoder.mean, encoder.std)
    return getattr(transformers, name)(image_processor=images, tokenizer=encoder.tokenizer)

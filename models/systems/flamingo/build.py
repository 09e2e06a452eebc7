"""A Flamingo in training: a CLIP and a Llama with new layers between them, or a checkpoint."""

from collections.abc import Iterable
from typing import Any

import torch

from capfilt.core.errors import ModelError
from capfilt.models.formats.guarded import load_model, load_part
from capfilt.models.formats.image_processor import read_image_processor
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.flamingo.episodes import MARKS
from capfilt.models.systems.flamingo.system import Flamingo
from capfilt.models.systems.flamingo.task import FlamingoTask
from capfilt.models.systems.parts.folder import save_folder
from capfilt.models.systems.parts.tower_info import tower_info
from capfilt.models.systems.parts.towers import load_tower
from capfilt.models.training.frozen import lock, lock_own
from capfilt.models.training.group import Group
from capfilt.models.training.system import Asked, TrainJob

_NEW = ("model.gated_cross_attn_layers.", "model.perceiver_resampler.", "additional_")
"""Names of what neither the CLIP nor the Llama has."""


def build(asked: Asked, texts: Iterable[str], group: Group) -> TrainJob:
    """See `system.SystemCode`; texts are read by the language model's own tokenizer."""
    wanted = asked.section(Flamingo)
    if asked.model.start:
        folder = locate(asked.model.start)
        model = load_model("IdeficsForVisionText2Text", folder, "cpu", torch.float32)
        words, pixels = load_part("AutoProcessor", folder).tokenizer, read_image_processor(folder)
        mean, std = pixels["image_mean"], pixels["image_std"]
    else:
        tower, folder = tower_info(asked.model.vision), locate(asked.model.language)
        words = load_part("AutoTokenizer", folder)
        language = load_model("AutoModelForCausalLM", folder, "cpu", torch.float32)
        model = connect(load_tower(tower), language, words, wanted)
        mean, std = tower.mean, tower.std
    _lock(model)
    if asked.model.checkpointing:
        model.gradient_checkpointing_enable()
    own = (wanted.images, (mean, std), wanted.max_tokens)
    task = FlamingoTask(model.to(asked.device), words, *own, asked.seed, group)
    processor = processor_of(model, words, mean, std)
    return TrainJob(task, lambda out: save_folder(out, model, processor, asked.stored_dtype))


def connect(tower: Any, language: Any, words: Any, wanted: Flamingo) -> Any:
    """An `IdeficsForVisionText2Text` of a `CLIPVisionModel` and a `LlamaForCausalLM`, its gates shut.

    Args:
        words: the language model's tokenizer, which learns `MARKS`.
    """
    from transformers import IdeficsForVisionText2Text

    make: Any = IdeficsForVisionText2Text
    model = make(_config(tower.config, language.config, words, wanted)).eval()
    _add_marks(words, language.config.vocab_size)
    seen = {name.removeprefix("vision_model."): tensor for name, tensor in tower.state_dict().items()}
    weights = language.state_dict() | {f"model.vision_model.{name}": tensor for name, tensor in seen.items()}
    lacking, unknown = model.load_state_dict(weights, strict=False)
    if unknown or (left := [name for name in lacking if not any(new in name for new in _NEW)]):
        raise ValueError(f"tensors that do not fit a Flamingo: {[*unknown, *left][:3]}")
    return model


def _config(vision: Any, text: Any, words: Any, wanted: Flamingo) -> Any:
    from transformers import IdeficsConfig

    of_text = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
               "hidden_act", "rms_norm_eps", "max_position_embeddings", "rope_parameters", "tie_word_embeddings",
               "bos_token_id", "eos_token_id", "pad_token_id")  # fmt: skip
    of_vision = ("image_size", "patch_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                 "hidden_act", "layer_norm_eps")  # fmt: skip
    heads, make = vision.num_attention_heads, IdeficsConfig
    made: Any = make
    return made(
        **{name: getattr(text, name) for name in of_text},
        vision_config={name: getattr(vision, name) for name in of_vision} | {"embed_dim": vision.hidden_size},
        perceiver_config={
            "use_resampler": True,
            "resampler_n_latents": wanted.latents,
            "resampler_depth": wanted.depth,
            "resampler_n_heads": heads,
            "resampler_head_dim": vision.hidden_size // heads,
        },
        use_resampler=True,
        cross_layer_interval=wanted.every,
        additional_vocab_size=len(MARKS),
        freeze_lm_head=True,  # the class would train the language model's head
        # Its 0.02 suits a width of 2,500; new layers of a narrow model would hardly speak.
        initializer_range=text.hidden_size**-0.5,
    )


def _add_marks(words: Any, vocabulary: int) -> None:
    """Give a tokenizer `MARKS`, whose ids must follow those of the language model's embeddings.

    Raises:
        ModelError: it has more words than the model has embeddings.
    """
    if len(words) > vocabulary:
        raise ModelError(f"model.language: its tokenizer has {len(words)} words, its embeddings only {vocabulary}")
    words.add_tokens([f"<unused{number}>" for number in range(vocabulary - len(words))])
    words.add_special_tokens({"additional_special_tokens": list(MARKS)}, replace_extra_special_tokens=False)
    # The processor begins a row with `bos_token`, and writes the word None where there is none.
    words.bos_token = words.bos_token or words.eos_token
    words.pad_token = words.pad_token or words.eos_token


def _lock(model: Any) -> None:
    """Train resampler, cross-attention and the marks' embeddings alone."""
    for part in (model.model.vision_model, model.model.layers, model.model.norm):
        lock(part)
    for part in (model.model.embed_tokens, model.lm_head):
        lock_own(part)


def processor_of(model: Any, words: Any, mean: Any, std: Any) -> Any:
    """What turns images and texts into the inputs of training."""
    from transformers import IdeficsImageProcessor, IdeficsProcessor

    images, make = IdeficsImageProcessor, IdeficsProcessor
    made: Any = images
    squash = made(image_size=model.config.vision_config.image_size, image_mean=list(mean), image_std=list(std))
    both: Any = make
    return both(squash, words)

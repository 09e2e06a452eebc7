"""Flamingo: what it is, and what it needs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ConfigError
from capfilt.models.formats.checkpoint import CONFIG, weight_files
from capfilt.models.qformer.config import language_files
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.parts.language_info import check_room, language_config, needs_both
from capfilt.models.systems.parts.shapes import check_side, started, stated
from capfilt.models.systems.parts.tower_info import tower_info
from capfilt.models.training.settings import setting
from capfilt.models.training.system import Asked, Foundation, ModelSettings, System

TOWERS: Final = ("clip", "clip_vision_model")
"""Image towers that fit the library's class."""
MARKS: Final = 4
"""Tokens of an episode for each image beside its text's: the image's three and, before the first, the beginning."""


@dataclass(frozen=True, kw_only=True)
class Flamingo:
    """Flamingo: what lies between `model.vision` and `model.language`, and the episodes."""

    latents: int = setting(64, "states that the resampler makes of an image", ge=1)
    depth: int = setting(6, "layers of the resampler", ge=1)
    every: int = setting(1, "layers of the language model for each layer of cross-attention", ge=1)
    images: int = setting(1, "images of an episode, each with its text; above 1 it learns from examples", ge=1, le=32)
    max_tokens: int = setting(32, "tokens of a text, with its end; longer ones are cut", ge=2)


def check(asked: Asked) -> Foundation:
    """A CLIP and a Llama that fit, or a Flamingo; see `System.check`."""
    settings, own = asked.model, asked.section(Flamingo)
    if settings.start:
        language, folder = started(settings.start, ("idefics",), "a Flamingo"), locate(settings.start)
        side = stated(language.get("vision_config", {}), "image_size", settings.start)
        files: tuple[Path, ...] = (folder / CONFIG, *weight_files(folder))
    else:
        needs_both(settings, "Flamingo")
        language, side, files = _parts(settings)
    check_side(settings, side, "model.start" if settings.start else "model.vision", settings.start or settings.vision)
    before = (own.images - 1) * (own.max_tokens + MARKS) + MARKS
    taken = f"{own.images} images with their texts, the last one left out, take {before}"
    check_room(language, before, "flamingo.max_tokens", own.max_tokens, taken)
    return Foundation(side, files)


def _parts(settings: ModelSettings) -> tuple[dict[str, Any], int, tuple[Path, ...]]:
    """What the language model says of itself, pixels of a side, and the files of both parts."""
    tower = tower_info(settings.vision)
    if tower.kind not in TOWERS:
        raise ConfigError(f"model.vision = {settings.vision!r}: Flamingo reads the image tower of a CLIP, not of a "
                          f"{tower.kind}")  # fmt: skip
    folder, language = language_config(settings.language, ("llama",), "Flamingo")
    _check_heads(language, settings.language)
    return language, tower.side, (*tower.files, *language_files(folder))


def _check_heads(language: dict[str, Any], name: str) -> None:
    """Make sure that the library's layers, which are those of the first Llama, take the weights."""
    heads, width = stated(language, "num_attention_heads", name), stated(language, "hidden_size", name)
    named, groups = f"model.language = {name!r}", language.get("num_key_value_heads") or heads
    if groups != heads:
        raise ConfigError(f"{named}: {groups} key-value heads for {heads} attention heads; Flamingo needs one for each")
    if (language.get("head_dim") or width // heads) * heads != width:
        raise ConfigError(f"{named}: num_attention_heads x head_dim is not hidden_size, which Flamingo needs")
    if language.get("attention_bias") or language.get("mlp_bias"):
        raise ConfigError(f"{named}: its layers have biases; Flamingo takes a Llama without them")


FLAMINGO: Final = System(
    name="flamingo",
    about="frozen language model reads images",
    package="flamingo",
    check=check,
    roles=("captioner",),
    example="--set model.vision=CLIP --set model.language=LLAMA",
    sections={"flamingo": Flamingo},
    defaults={"optimizer": {"weight_decay": 0.1}, "schedule": {"rate": 1e-4}},
)

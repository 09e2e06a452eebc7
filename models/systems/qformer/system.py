"""Q-Former: what it is, and what its two stages need (BLIP-2, section 3)."""

from dataclasses import dataclass
from typing import Final

from capfilt.core.errors import ConfigError
from capfilt.models.formats import checkpoint
from capfilt.models.formats.timm_tower import is_timm
from capfilt.models.qformer.config import describe, is_qformer, language_files
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.parts.language_info import language_folder
from capfilt.models.training.checks import checkpoint_files
from capfilt.models.training.settings import Objectives, setting
from capfilt.models.training.system import Asked, Foundation, ModelSettings, System


@dataclass(frozen=True, kw_only=True)
class Queries:
    """Q-Former. A size of 0 is that of the text encoder of the MED whose image encoder it reads."""

    queries: int = setting(32, "learned queries", ge=1)
    width: int = setting(0, "hidden size; 0 = that of the MED's text encoder", ge=0)
    layers: int = setting(0, "layers; 0 = those of the MED's text encoder", ge=0)
    heads: int = setting(0, "attention heads; 0 = those of the MED's text encoder", ge=0)
    skip_layers: int = setting(0, "last layers of the image encoder that are left out (BLIP-2: 1)", ge=0)
    ffn: int = setting(0, "size of the feed-forward layers; 0 = that of the MED's text encoder", ge=0)


def check(asked: Asked) -> Foundation:
    """What the stage starts from: a MED, or a stage 1 and a language model; see `System.check`."""
    settings = asked.model
    _check_stage(asked)
    language = language_files(language_folder(settings.language)) if settings.language else ()
    return Foundation(tower_side(settings), (*checkpoint_files(settings.start, settings.vision), *language))


def _check_stage(asked: Asked) -> None:
    settings, language = asked.model, asked.model.language
    if not language and not settings.vision:
        raise ConfigError(
            "model.vision: stage 1 of a Q-Former needs the checkpoint of a MED, whose image tower it reads"
        )
    if not language and (is_timm(settings.vision) or checkpoint.describe(locate(settings.vision)).config.tower):
        raise ConfigError("model.vision: a Q-Former reads the image tower of a MED, not one of timm")
    if not language:
        _check_layers(asked)
    if language:
        language_folder(language)
    if language and (not settings.start or not is_qformer(locate(settings.start))):
        raise ConfigError(f"model.start = {settings.start!r}: stage 2 of a Q-Former starts from a stage 1")


def _check_layers(asked: Asked) -> None:
    layers, skipped = checkpoint.describe(locate(asked.model.vision)).config.vision_layers, asked.section(Queries)
    if skipped.skip_layers >= layers:
        raise ConfigError(f"queries.skip_layers = {skipped.skip_layers}: the image encoder has {layers} layers")


def tower_side(settings: ModelSettings) -> int:
    """Pixels of a side that the image tower is shown."""
    if settings.language:
        return describe(locate(settings.start)).tower.image_size
    return settings.image_size or checkpoint.describe(locate(settings.vision)).config.image_size


QFORMER: Final = System(
    name="qformer",
    about="BLIP-2",
    example="--set model.vision=MED",
    package="qformer",
    check=check,
    roles=("captioner",),
    sections={"objectives": Objectives, "queries": Queries},
    defaults={"objectives": {"itc": 1.0, "itm": 1.0, "lm": 1.0, "max_tokens": 32}},
)

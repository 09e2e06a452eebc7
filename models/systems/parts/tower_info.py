"""What can be known of an image tower without torch: where one may come from, its size, and what it wants of pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.formats.checkpoint import CONFIG, FORMAT, describe, med_files, read_config, weight_files
from capfilt.models.formats.image_processor import read_normalizing_processor
from capfilt.models.formats.model_info import ALPHA, OFF
from capfilt.models.registry.resolve import locate

CLIP: Final = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
"""Mean and standard deviation of CLIP's and a MED's pixels."""
TOWERS: Final = ("clip", "clip_vision_model", "vit", "vit_mae", "beit")
"""Models of `transformers` whose image tower others can take, by the `model_type` of their config.json."""


@dataclass(frozen=True, slots=True)
class TowerInfo:
    """An image tower as its folder describes it."""

    folder: Path
    kind: str  # "med", or one of `TOWERS`
    side: int  # pixels
    patch: int
    mean: Sequence[float]
    std: Sequence[float]
    files: tuple[Path, ...]  # what it is made of


def is_tower(folder: Path) -> bool:
    """Whether a folder holds a model of `transformers` whose image tower can be taken."""
    try:
        return read_config(folder).get("model_type") in TOWERS
    except ModelError:  # who loads it says so
        return False


def tower_info(name: str, setting: str = "model.vision") -> TowerInfo:
    """The image tower of a checkpoint.

    Raises:
        ConfigError: a model whose tower cannot be taken; names the setting.
        ModelError: no such folder, or one that is not whole.
    """
    folder = locate(name)
    settings = read_config(folder)
    kind = str(settings.get("model_type", ""))
    if settings.get("format") == FORMAT:
        return _med(folder, f"{setting} = {name!r}")
    if kind not in TOWERS:
        raise ConfigError(f"{setting} = {name!r}: no image tower is taken of a {kind or 'model of an unnamed type'}")
    if settings.get(ALPHA, OFF) != OFF:
        raise ConfigError(f"{setting} = {name!r}: an Alpha-CLIP whose tower needs a mask; name a CLIP")
    own = settings.get("vision_config", settings)
    if kind == "beit" and not own.get("use_absolute_position_embeddings"):
        raise ConfigError(f"{setting} = {name!r}: a BEiT with relative positions is no plain ViT, so it is not taken")
    pixels = read_normalizing_processor(folder)
    files = (folder / CONFIG, *weight_files(folder))
    side, patch = int(own.get("image_size", 224)), int(own.get("patch_size", 32 if "clip" in kind else 16))
    return TowerInfo(folder, kind, side, patch, pixels["image_mean"], pixels["image_std"], files)


def _med(folder: Path, setting: str) -> TowerInfo:
    config = describe(folder).config
    if config.stem != "patch" or config.output_pos_embed:
        raise ConfigError(f"{setting}: its image tower is no plain ViT (stem = {config.stem!r}), so only a MED has it")
    return TowerInfo(folder, "med", config.image_size, config.patch_size, *CLIP, tuple(med_files(folder)))

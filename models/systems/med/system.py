"""MED, captioner and filter: what they are, and what they need."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from capfilt.core.errors import ConfigError
from capfilt.models.formats.checkpoint import TOKENIZER, VOCABULARY, describe, vocabulary, weight_files
from capfilt.models.formats.timm_tower import IMAGE_SIZE, is_timm
from capfilt.models.med.config import SIZES, MEDConfig
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.med.frozen import check_frozen
from capfilt.models.systems.parts.tower_info import TowerInfo, is_tower, tower_info
from capfilt.models.training.checks import checkpoint_files
from capfilt.models.training.settings import Dropout, Objectives
from capfilt.models.training.system import Asked, Foundation, ModelSettings, System


def check(asked: Asked) -> Foundation:
    """As `check_start`, and an objective to learn; see `System.check`."""
    (objectives,) = (section for section in asked.own if isinstance(section, Objectives))
    if not any((objectives.itc, objectives.itm, objectives.lm, objectives.token_itm)):
        raise ConfigError("objectives: itc, itm, lm and token_itm are all 0: there is nothing to learn")
    return check_start(asked)


def check_start(asked: Asked) -> Foundation:
    """A known size, or a checkpoint that is whole; see `System.check`."""
    settings = asked.model
    check_frozen(settings)
    of_tower = tower_of_another(settings.vision)
    files = checkpoint_files(settings.start, "" if of_tower else settings.vision) + (of_tower.files if of_tower else ())
    side = image_size(asked.model)
    if settings.text:
        files += bert_files(Path(settings.text))
    return Foundation(side, files, {} if files else SIZES[asked.model.size].to_dict())


def bert_files(folder: Path) -> tuple[Path, ...]:
    """What is read of a BERT.

    Raises:
        ModelError: something of it is not there.
    """
    words = vocabulary(folder)
    if not folder.is_dir() or not words.is_file():
        raise ConfigError(f"model.text = {str(folder)!r}: no folder with weights and {VOCABULARY} or {TOKENIZER}")
    return (*weight_files(folder), words)


def tower_of_another(name: str) -> TowerInfo | None:
    """The image tower that a new MED starts from, where it is that of a ViT, an MAE or a BEiT; None for a MED's.

    Raises:
        ConfigError: a tower of another build; names the setting.
    """
    if not name or is_timm(name) or not is_tower(locate(name)):
        return None
    found = tower_info(name)
    if found.kind.startswith("clip"):
        raise ConfigError(f"model.vision = {name!r}: a CLIP tower normalizes before its layers, which a MED's does not")
    return found


def image_size(settings: ModelSettings) -> int:
    """Pixels of a side of the MED that is trained.

    Raises:
        ConfigError: no such size.
        ModelError: no such checkpoint.
    """
    config = _shape(settings)
    side = settings.image_size or config.image_size
    if side % config.patch_size:
        raise ConfigError(f"model.image_size = {side} is not a multiple of the patches' {config.patch_size} pixels")
    return side


def _shape(settings: ModelSettings) -> MEDConfig:
    if settings.start:
        return describe(locate(settings.start)).config
    if settings.size not in SIZES:
        raise ConfigError(f"model.size = {settings.size!r} is not known; there are: {', '.join(SIZES)}")
    size = SIZES[settings.size]
    # Of a tower only its side is known before it is loaded: patches are told by its feature map.
    return replace(size, image_size=IMAGE_SIZE, patch_size=1) if is_timm(settings.vision) else size


MED: Final = System(
    name="med",
    about="ITC + ITM + LM",  # BLIP, section 3.2
    package="med",
    check=check,
    roles=("captioner", "filter"),
    sections={"objectives": Objectives, "dropout": Dropout},
    defaults={"objectives": {"itc": 1.0, "itm": 1.0, "lm": 1.0}},
)
CAPTIONER: Final = System(
    name="captioner",
    about="LM",  # BLIP, section 3.3: captioner and filter are tuned apart
    example="--start BASE",
    package="med",
    check=check,
    roles=("captioner",),
    sections={"objectives": Objectives, "dropout": Dropout},
    defaults={"objectives": {"lm": 1.0}, "data": {"sources": ["human"]}},
)
FILTER: Final = System(
    name="filter",
    about="ITC + ITM",
    example="--start BASE",
    package="med",
    check=check,
    roles=("filter",),
    sections={"objectives": Objectives, "dropout": Dropout},
    defaults={"objectives": {"itc": 1.0, "itm": 1.0}, "data": {"sources": ["human"]}},  # section 3.3: human pairs
)

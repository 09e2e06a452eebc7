"""A MED on a frozen image tower of timm: what is checked before work, and how it is made. Free of torch until then."""

from dataclasses import replace
from typing import TYPE_CHECKING

from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.formats.timm_tower import IMAGE_SIZE, is_timm, load_timm, timm_digest
from capfilt.models.med.config import MEDConfig
from capfilt.models.training.system import ModelSettings

if TYPE_CHECKING:
    from capfilt.models.med.model import MED


def check_frozen(settings: ModelSettings) -> None:
    """A frozen tower of timm is asked for by two settings, so that nobody takes it for the start of a trained one.

    Raises:
        ConfigError: only one of them is set, or the tower cannot be used.
    """
    tower = is_timm(settings.vision)
    if tower and settings.features != "frozen":
        raise ConfigError(f"model.vision = {settings.vision!r} is used as it is: set model.features=frozen")
    if settings.features == "frozen" and not tower:
        raise ConfigError("model.features = 'frozen' needs model.vision=timm:NAME")
    if tower and settings.start:
        raise ConfigError("model.vision and model.start: a checkpoint brings its own image tower")
    if tower:
        _try_tower(settings.vision, settings.image_size or IMAGE_SIZE)


def _try_tower(name: str, side: int) -> None:
    """Load it once: whether its weights fit and its feature map can be used is known before data is read.

    Raises:
        ConfigError: they do not, or not with images of that size.
    """
    try:
        tower = load_timm(name, side)
    except ModelError as error:
        raise ConfigError(f"model.vision: {error}") from error
    if side % tower.side:
        raise ConfigError(f"model.image_size = {side} is not a multiple of the tower's {tower.side} patches")


def med_on_tower(config: MEDConfig, name: str, side: int) -> "MED":
    """A new MED on a frozen tower."""
    from capfilt.models.med.model import MED

    tower = load_timm(name, side)
    on_tower = replace(
        config,
        tower=name,
        tower_digest=timm_digest(name),
        image_size=side,
        patch_size=side // tower.side,
        stem="patch",
        output_pos_embed=0.0,
        vision_width=tower.width,
        vision_layers=0,
        vision_heads=1,
    )
    return MED(on_tower, tower)

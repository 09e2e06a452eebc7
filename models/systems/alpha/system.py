"""Alpha-CLIP: what it is, and what it needs."""

from dataclasses import dataclass
from typing import Final

from capfilt.core.errors import ConfigError
from capfilt.models.formats.model_info import DUAL
from capfilt.models.systems.parts.shapes import check_side, started
from capfilt.models.training.checks import checkpoint_files
from capfilt.models.training.settings import setting
from capfilt.models.training.system import Asked, Foundation, System


@dataclass(frozen=True, kw_only=True)
class Regions:
    """Alpha-CLIP: what of the image tower is trained."""

    rest: float = setting(
        0.0, "learning rate of the image tower beside the mask's, as a share (published: 0.01); 0 = not trained", ge=0
    )


def check(asked: Asked) -> Foundation:
    """A CLIP to start from; see `System.check`."""
    settings = asked.model
    if settings.vision:
        raise ConfigError("model.vision: alpha-clip starts from a whole CLIP; name it by model.start")
    if not settings.start:
        raise ConfigError("model.start: alpha-clip must start from a CLIP; train one by `capfilt train clip`")
    if asked.augments:
        raise ConfigError("data.crop, data.flip and data.changes must be off: alpha-clip's boxes would not follow")
    told = started(settings.start, ["clip"], "a CLIP")
    kind = (told.get("architectures") or [""])[0]
    if kind != DUAL["clip"]:
        raise ConfigError(f"model.start = {settings.start!r}: it is a {kind or 'model of no class'}, not a CLIP")
    side = int(told.get("vision_config", {}).get("image_size", 224))
    check_side(settings, side, "model.start", settings.start)
    return Foundation(side, checkpoint_files(settings.start))


ALPHA_CLIP: Final = System(  # Sun et al. 2024
    name="alpha-clip",
    about="a CLIP that judges region captions",
    example="--start CLIP",
    package="alpha",
    check=check,
    reads="regions",
    roles=("filter",),
    sections={"regions": Regions},
    defaults={"schedule": {"rate": 1e-3}},
)

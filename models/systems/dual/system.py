"""CLIP, FLIP, SigLIP and LiT: what they are, and what they need. They are one system with other settings."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Literal

from capfilt.core.errors import ConfigError
from capfilt.models.formats.model_info import ALPHA, DUAL
from capfilt.models.systems.parts.shapes import ImageGrid, check_side, named_size, started
from capfilt.models.systems.parts.tower_info import tower_info
from capfilt.models.training.checks import checkpoint_files
from capfilt.models.training.settings import setting
from capfilt.models.training.system import Asked, Foundation, System


@dataclass(frozen=True, kw_only=True)
class DualSize(ImageGrid):
    """Shape of a new dual encoder."""

    vision_width: int
    vision_layers: int
    vision_heads: int
    text_width: int
    text_layers: int
    text_heads: int
    max_tokens: int = 77
    projection: int = 512


SIZES: Final = {
    "dual-tiny": DualSize(
        image_size=48,
        patch_size=8,
        vision_width=128,
        vision_layers=4,
        vision_heads=4,
        text_width=128,
        text_layers=3,
        text_heads=4,
        max_tokens=40,
        projection=64,
    ),
    "dual-base": DualSize(
        image_size=224,
        patch_size=16,
        vision_width=768,
        vision_layers=12,
        vision_heads=12,
        text_width=512,
        text_layers=12,
        text_heads=8,
    ),
    "dual-large": DualSize(
        image_size=224,
        patch_size=14,
        vision_width=1024,
        vision_layers=24,
        vision_heads=16,
        text_width=768,
        text_layers=12,
        text_heads=12,
        projection=768,
    ),
}
"""`dual-base` and `dual-large` are CLIP's ViT-B/16 and ViT-L/14."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """Dual encoders: how images and texts are contrasted. `model.vision` is an image tower to start from."""

    loss: Literal["softmax", "sigmoid"] = setting(
        "softmax", "softmax over the batch (CLIP) or sigmoid per pair (SigLIP)"
    )
    lock: bool = setting(False, "do not train the image tower (LiT)")
    drop: float = setting(0.0, "share of an image's patches dropped in training (FLIP)", ge=0, lt=1)
    part: int = setting(
        0,
        "pairs that go through the towers at once; fewer need less memory, the loss stays that of the batch; 0 = all",
        ge=0,
    )
    temperature: float = setting(0.07, "temperature of a new model at the start", ge=0.01, le=1)
    bias: float = setting(0.0, "bias of the sigmoid loss at the start; 0 = -ln(schedule.batch)", le=0)

    def __post_init__(self) -> None:
        if self.lock and self.drop:
            raise ValueError("a locked tower is not trained, so drop must be 0")


def check(asked: Asked) -> Foundation:
    """A known size, or towers and checkpoints that fit; see `System.check`."""
    settings, wanted = asked.model, asked.section(Contrast)
    if settings.start:
        return _started(asked)
    if settings.vision:
        tower = tower_info(settings.vision)
        check_side(settings, tower.side, "model.vision", settings.vision)
        size = named_size(replace(settings, image_size=0), SIZES)  # of the text tower; images are the tower's
        return Foundation(tower.side, tower.files, asdict(size))
    if wanted.lock:
        raise ConfigError("contrast.lock: model.vision must name the image tower that is locked")
    size = named_size(settings, SIZES)
    return Foundation(size.image_size, (), asdict(size))


def _started(asked: Asked) -> Foundation:
    """What an earlier dual encoder is, which keeps its shape and its words."""
    settings, name = asked.model, asked.model.start
    if settings.vision:
        raise ConfigError("model.vision: model.start has one, so only one of them can be given")
    told = started(name, sorted(DUAL), "a dual encoder")
    if asked.section(Contrast).drop and told["model_type"] == "siglip":
        raise ConfigError("contrast.drop: the image tower of a siglip pools all patches, so none can be dropped")
    if ALPHA in told:
        raise ConfigError(f"model.start = {name!r}: it is an alpha-clip, which `capfilt train alpha-clip` trains on")
    side = int(told.get("vision_config", {}).get("image_size", 224))  # older files leave out what is the default
    check_side(settings, side, "model.start", name)
    return Foundation(side, checkpoint_files(settings.start, settings.vision))


def _system(name: str, about: str, example: str = "", **contrast: Any) -> System:
    return System(
        name=name,
        about=about,
        example=example,
        package="dual",
        check=check,
        roles=("filter",),
        sections={"contrast": Contrast},
        # CLIP's rate, seen to suit the sigmoid loss: in a test on plain colors it learned at 5e-4, not at 2e-3.
        defaults={"model": {"size": "dual-tiny"}, "schedule": {"rate": 5e-4}, "contrast": contrast},
    )


CLIP: Final = _system("clip", "ITC with a learned temperature")  # Radford et al. 2021
FLIP: Final = _system("flip", "CLIP, half of the patches dropped", drop=0.5)  # Li et al. 2023
SIGLIP: Final = _system("siglip", "a sigmoid a pair", loss="sigmoid", temperature=0.1)  # Zhai et al. 2023
LIT: Final = _system(  # Zhai et al. 2022
    "lit", "texts for a locked image tower", "--set model.vision=TOWER", lock=True, temperature=0.1
)

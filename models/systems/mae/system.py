"""Masked autoencoder: what it is, and what it needs."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.formats.checkpoint import CONFIG, weight_files
from capfilt.models.registry.resolve import locate
from capfilt.models.training.settings import setting
from capfilt.models.training.system import Asked, Foundation, System

MODEL_TYPE: Final = "vit_mae"


@dataclass(frozen=True, slots=True, kw_only=True)
class MAESize:
    """Shape of a new masked autoencoder."""

    image_size: int = 224
    patch_size: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    decoder_width: int = 512
    decoder_layers: int = 8
    decoder_heads: int = 16


SIZES: Final = {
    "mae-tiny": MAESize(
        image_size=64,
        patch_size=8,
        width=128,
        layers=4,
        heads=4,
        decoder_width=64,
        decoder_layers=2,
        decoder_heads=4,
    ),
    "mae-base": MAESize(),
    "mae-large": MAESize(width=1024, layers=24, heads=16),
}
"""`mae-base` and `mae-large` are those of the paper."""


@dataclass(frozen=True, kw_only=True)
class Masking:
    """Masked autoencoder: what is hidden, and what is rebuilt."""

    ratio: float = setting(0.75, "share of an image's patches that is hidden", gt=0, lt=1)
    norm: bool = setting(
        False, "rebuild patches normalized to mean 0 and variance 1; better on photos, noise on flat drawings"
    )
    crop: float = setting(
        0.2, "least share of an image's area in its random crop, which is mirrored half of the time; 1 = whole image",
        gt=0, le=1,
    )  # fmt: skip


def check(asked: Asked) -> Foundation:
    """A known size, or a checkpoint of a masked autoencoder; see `System.check`."""
    settings = asked.model
    if settings.vision:
        raise ConfigError("model.vision: a masked autoencoder trains an image tower; start from one by model.start")
    if settings.start:
        return _started(locate(settings.start), settings.start, settings.image_size)
    if settings.size not in SIZES:
        raise ConfigError(f"model.size = {settings.size!r} is not known; there are: {', '.join(SIZES)}")
    size = SIZES[settings.size]
    size = replace(size, image_size=settings.image_size or size.image_size)
    if size.image_size % size.patch_size:
        raise ConfigError(
            f"model.image_size = {size.image_size} is not a multiple of the patches' {size.patch_size} pixels"
        )
    hidden = round((size.image_size // size.patch_size) ** 2 * asked.section(Masking).ratio)
    if not 0 < hidden < (size.image_size // size.patch_size) ** 2:
        raise ConfigError(f"masking.ratio = {asked.section(Masking).ratio} hides all patches of an image, or none")
    return Foundation(size.image_size, (), asdict(size))


def _started(folder: Path, name: str, image_size: int) -> Foundation:
    try:
        shape: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: no readable {CONFIG} ({error})") from error
    if shape.get("model_type") != MODEL_TYPE:
        raise ConfigError(f"model.start = {name!r}: a {shape.get('model_type')}, not a masked autoencoder (vit_mae)")
    side = int(shape["image_size"])
    if image_size not in (0, side):
        raise ConfigError(
            f"model.image_size = {image_size}: {name!r} was trained on {side} pixels, its positions fixed"
        )
    return Foundation(side, (folder / CONFIG, *weight_files(folder)))


MAE: Final = System(
    name="mae",
    about="image tower from images alone",
    package="mae",
    check=check,
    reads="images",
    sections={"masking": Masking},
    defaults={"model": {"size": "mae-tiny"}, "optimizer": {"beta2": 0.95}},
)

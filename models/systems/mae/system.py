"""Masked autoencoder: what it is, and what it needs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from capfilt.core.errors import ConfigError
from capfilt.models.formats.checkpoint import CONFIG, weight_files
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.parts.shapes import ImageGrid, TowerSize, check_side, named_size, started, stated
from capfilt.models.training.settings import setting
from capfilt.models.training.system import Asked, Foundation, ModelSettings, System

MODEL_TYPE: Final = "vit_mae"


@dataclass(frozen=True, kw_only=True)
class MAESize(TowerSize):
    """Shape of a new masked autoencoder."""

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
    settings, ratio = asked.model, asked.section(Masking).ratio
    if settings.vision:
        raise ConfigError("model.vision: a masked autoencoder trains an image tower; start from one by model.start")
    grid, files = _grid(settings)
    if not 0 < shown(grid.patches, ratio) < grid.patches:
        raise ConfigError(f"masking.ratio = {ratio} hides all {grid.patches} patches of an image, or none")
    return Foundation(grid.image_size, files, {} if files else asdict(grid))


def shown(patches: int, ratio: float) -> int:
    """Patches of an image that are not hidden, as `transformers` counts them."""
    return int(patches * (1 - ratio))


def _grid(settings: ModelSettings) -> tuple[ImageGrid, tuple[Path, ...]]:
    """What is trained, and the files it starts from."""
    name = settings.start
    if not name:
        return named_size(settings, SIZES), ()
    config, folder = started(name, (MODEL_TYPE,), "a masked autoencoder"), locate(name)
    grid = ImageGrid(image_size=stated(config, "image_size", name), patch_size=stated(config, "patch_size", name))
    check_side(settings, grid.image_size, "model.start", name)  # its positions are fixed
    return grid, (folder / CONFIG, *weight_files(folder))


MAE: Final = System(
    name="mae",
    about="image tower from images alone",
    package="mae",
    check=check,
    reads="images",
    sections={"masking": Masking},
    defaults={"model": {"size": "mae-tiny"}, "optimizer": {"beta2": 0.95}},
)

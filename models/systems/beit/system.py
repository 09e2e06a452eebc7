"""BEiT: what it is, and what it needs."""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.formats.checkpoint import CONFIG, weight_files
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.parts.tower_info import TowerInfo, tower_info
from capfilt.models.training.settings import setting
from capfilt.models.training.system import Asked, Foundation, System

CODEBOOK: Final = "codebook.safetensors"
"""The visual tokens of a checkpoint, beside its weights."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BEiTSize:
    """Shape of a new BEiT."""

    image_size: int = 224
    patch_size: int = 16
    width: int = 768
    layers: int = 12
    heads: int = 12
    layer_scale: float = 0.1  # 1e-5 for large ones


SIZES: Final = {
    "beit-tiny": BEiTSize(image_size=48, patch_size=8, width=128, layers=4, heads=4),
    "beit-base": BEiTSize(),
    "beit-large": BEiTSize(width=1024, layers=24, heads=16, layer_scale=1e-5),
}


@dataclass(frozen=True, kw_only=True)
class Codebook:
    """BEiT: visual tokens, which are groups of a teacher's patch features, and how patches are hidden."""

    teacher: str = setting("", "checkpoint whose image tower tells what patches are alike: CLIP, ViT, MAE or MED")
    codes: int = setting(64, "visual tokens; BEiT has 8192", ge=2)
    learned: int = setting(1000, "steps over which the tokens still follow the teacher's features", ge=1)
    ratio: float = setting(0.4, "share of an image's patches that is hidden, in blocks", gt=0, lt=1)
    crop: float = setting(
        0.2, "least share of an image's area in its random crop, which is mirrored half of the time; 1 = whole image",
        gt=0, le=1,
    )  # fmt: skip


def check(asked: Asked) -> Foundation:
    """A known size and a teacher with the same grid of patches; see `System.check`."""
    settings, wanted = asked.model, asked.section(Codebook)
    if settings.vision:
        raise ConfigError("model.vision: BEiT trains an image tower; the tower it learns from is codebook.teacher")
    if not wanted.teacher:
        raise ConfigError("codebook.teacher: BEiT needs the checkpoint of an image tower, whose features it groups")
    teacher = tower_info(wanted.teacher, "codebook.teacher")
    size, files = shape_of(asked)
    if size.image_size % size.patch_size:
        raise ConfigError(
            f"model.image_size = {size.image_size} is not a multiple of the patches' {size.patch_size} pixels"
        )
    _check_grid(size, teacher, wanted.teacher)
    return Foundation(size.image_size, (*files, *teacher.files), asdict(size))


def _check_grid(size: BEiTSize, teacher: TowerInfo, name: str) -> None:
    own, its = size.image_size // size.patch_size, teacher.side // teacher.patch
    if own != its:
        raise ConfigError(f"codebook.teacher = {name!r} has {its} x {its} patches an image, the model {own} x {own}")


def shape_of(asked: Asked) -> tuple[BEiTSize, tuple[Any, ...]]:
    """The shape of what is trained, and the files it starts from.

    Raises:
        ConfigError: no such size, or a checkpoint of another kind.
    """
    settings = asked.model
    if not settings.start:
        if settings.size not in SIZES:
            raise ConfigError(f"model.size = {settings.size!r} is not known; there are: {', '.join(SIZES)}")
        size = SIZES[settings.size]
        return replace(size, image_size=settings.image_size or size.image_size), ()
    folder = locate(settings.start)
    try:
        found: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: no readable {CONFIG} ({error})") from error
    if found.get("model_type") != "beit":
        raise ConfigError(f"model.start = {settings.start!r}: a {found.get('model_type')}, not a BEiT")
    if not (folder / CODEBOOK).is_file():
        raise ConfigError(f"model.start = {settings.start!r}: no {CODEBOOK}, so what its tokens stand for is not known")
    if settings.image_size not in (0, found["image_size"]):
        raise ConfigError(f"model.image_size = {settings.image_size}: {settings.start!r} takes {found['image_size']}")
    size = BEiTSize(
        image_size=found["image_size"],
        patch_size=found["patch_size"],
        width=found["hidden_size"],
        layers=found["num_hidden_layers"],
        heads=found["num_attention_heads"],
        layer_scale=found["layer_scale_init_value"],
    )
    return size, (folder / CONFIG, folder / CODEBOOK, *weight_files(folder))


BEIT: Final = System(
    name="beit",
    about="image tower that names hidden patches",
    package="beit",
    check=check,
    reads="images",
    example="--set codebook.teacher=TOWER",
    sections={"codebook": Codebook},
    defaults={"model": {"size": "beit-tiny"}, "optimizer": {"clip": 3.0}},
)

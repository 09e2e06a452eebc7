"""BEiT: what it is, and what it needs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from capfilt.core.errors import ConfigError
from capfilt.models.formats.checkpoint import CONFIG, weight_files
from capfilt.models.registry.resolve import locate
from capfilt.models.systems.parts.shapes import TowerSize, check_side, named_size, started, stated
from capfilt.models.systems.parts.tower_info import TowerInfo, tower_info
from capfilt.models.training.settings import setting
from capfilt.models.training.system import Asked, Foundation, ModelSettings, System

CODEBOOK: Final = "codebook.safetensors"
"""The visual tokens of a checkpoint, beside its weights."""


@dataclass(frozen=True, kw_only=True)
class BEiTSize(TowerSize):
    """Shape of a new BEiT."""

    layer_scale: float = 0.1  # 1e-5 for large ones


SIZES: Final = {
    "beit-tiny": BEiTSize(image_size=48, patch_size=8, width=128, layers=4, heads=4),
    "beit-base": BEiTSize(),
    "beit-large": BEiTSize(width=1024, layers=24, heads=16, layer_scale=1e-5),
}

_NAMES: Final = {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
}
"""Fields of a size, and what config.json of `transformers` calls them."""


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
    size, files = shape_of(settings)
    _check_grid(size, teacher, wanted.teacher)
    return Foundation(size.image_size, (*files, *teacher.files), asdict(size))


def _check_grid(size: BEiTSize, teacher: TowerInfo, name: str) -> None:
    own, its = size.image_size // size.patch_size, teacher.side // teacher.patch
    if own != its:
        raise ConfigError(f"codebook.teacher = {name!r} has {its} x {its} patches an image, the model {own} x {own}")


def shape_of(settings: ModelSettings) -> tuple[BEiTSize, tuple[Path, ...]]:
    """The shape of what is trained, and the files it starts from.

    Raises:
        ConfigError: no such size, or a checkpoint of another kind.
        ModelError: a checkpoint that is not whole.
    """
    name = settings.start
    if not name:
        return named_size(settings, SIZES), ()
    config, folder = started(name, ("beit",), "a BEiT"), locate(name)
    if not (folder / CODEBOOK).is_file():
        raise ConfigError(f"model.start = {name!r}: no {CODEBOOK}, so what its tokens stand for is not known")
    size = BEiTSize(**{own: stated(config, its, name) for own, its in _NAMES.items()})
    check_side(settings, size.image_size, "model.start", name)
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

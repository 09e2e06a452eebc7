"""What LLaVA cannot be trained on is named before any work."""

from pathlib import Path

import pytest

from capfilt.core.errors import ConfigError
from capfilt.models.normalize import CLIP_MEAN, CLIP_STD
from capfilt.models.systems.llava.system import LLAVA, LLAVA_TUNE, Llava
from capfilt.models.systems.mae.build import new_mae
from capfilt.models.systems.mae.system import MAESize
from capfilt.models.systems.parts.folder import save_folder, squash_processor
from capfilt.models.training.system import Asked, ModelSettings
from tiny_language import write_language


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("llava")
    for kind in ("opt", "t5", "llama"):
        write_language(home / kind, kind)
    size = MAESize(image_size=32, patch_size=8, width=48, layers=2, heads=4, decoder_width=32)
    save_folder(home / "tower", new_mae(size), squash_processor(32, CLIP_MEAN, CLIP_STD))
    return home


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"language": "llama"}, "model.vision: LLaVA connects"),
        ({"vision": "tower"}, "model.language: LLaVA connects"),
        ({"vision": "tower", "language": "opt"}, "its model type is opt; LLaVA takes"),
        ({"vision": "tower", "language": "t5"}, "its model type is t5; LLaVA takes"),
        ({"vision": "tower", "language": "tower"}, "its model type is vit_mae; LLaVA takes"),
        ({"vision": "tower", "language": "nowhere"}, "model.language: model .* is neither a directory"),
        ({"vision": "llama", "language": "llama"}, "no image tower is taken of a llama"),
        ({"start": "tower"}, "its model type is vit_mae, a LLaVA is needed"),
    ],
)
def test_what_does_not_fit_is_named(home: Path, changes: dict[str, str], named: str) -> None:
    settings = ModelSettings(**{name: str(home / value) for name, value in changes.items()})
    with pytest.raises(ConfigError, match=named):
        LLAVA.check(Asked(system=LLAVA, model=settings, own=(Llava(max_tokens=12),)))


def test_image_and_text_must_fit_into_the_positions(home: Path) -> None:
    settings = ModelSettings(vision=str(home / "tower"), language=str(home / "llama"))
    assert LLAVA.check(Asked(system=LLAVA, model=settings, own=(Llava(max_tokens=40),))).image_size == 32
    with pytest.raises(ConfigError, match="an image takes 16 of the language model's 64 positions"):
        LLAVA.check(Asked(system=LLAVA, model=settings, own=(Llava(max_tokens=48),)))


def test_stage_2_goes_on_from_stage_1(home: Path) -> None:
    settings = ModelSettings(vision=str(home / "tower"), language=str(home / "llama"))
    with pytest.raises(ConfigError, match="llava-tune goes on from a stage 1"):
        LLAVA_TUNE.check(Asked(system=LLAVA_TUNE, model=settings, own=(Llava(),)))

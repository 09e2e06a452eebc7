"""A checkpoint that says too little of itself, and a share of patches that leaves none, are one line before work."""

import json
from pathlib import Path
from typing import Any

import pytest

from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.systems.mae.system import MAE, Masking
from capfilt.models.systems.registry import SYSTEMS
from capfilt.models.training.system import Asked, ModelSettings

STARTS = ("mae", "clip", "flip", "lit", "siglip", "llava", "llava-tune")


def check(name: str, **model: Any) -> Any:
    system = SYSTEMS[name]
    own = tuple(kind() for kind in system.sections.values())
    return system.check(Asked(system=system, model=ModelSettings(**model), own=own))


@pytest.mark.parametrize("written", ["[]", "{", '"vit_mae"'])
@pytest.mark.parametrize("name", STARTS)
def test_a_config_that_is_no_object_is_named(name: str, written: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(written)
    with pytest.raises(ModelError, match=r"config\.json"):
        check(name, start=str(tmp_path))


@pytest.mark.parametrize("name", STARTS)
def test_a_checkpoint_of_another_kind_is_named_with_the_kind_that_is_needed(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ConfigError, match=r"model\.start = .*: its model type is bert, .* is needed"):
        check(name, start=str(tmp_path))


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("mae", {"model_type": "vit_mae", "patch_size": 16}),
        ("mae", {"model_type": "vit_mae", "image_size": [224, 224], "patch_size": 16}),
        ("llava", {"model_type": "llava", "vision_config": {"image_size": 336}, "text_config": {}}),
        ("llava", {"model_type": "llava"}),
    ],
)
def test_what_a_checkpoint_must_say_and_does_not_is_named(name: str, config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"gives (image_size|patch_size) = .*, a whole number is needed"):
        check(name, start=str(tmp_path))


@pytest.mark.parametrize(("ratio", "image_size"), [(0.99, 64), (0.95, 32), (0.001, 2048)])
def test_some_patches_are_shown_and_some_are_hidden(ratio: float, image_size: int) -> None:
    settings = ModelSettings(size="mae-tiny", image_size=image_size)
    asked = Asked(system=MAE, model=settings, own=(Masking(ratio=ratio),))
    if ratio > 0.5:  # rounded, a patch would be left; counted as the network does, there is none
        with pytest.raises(ConfigError, match=r"masking\.ratio = .* hides all"):
            MAE.check(asked)
    else:
        assert MAE.check(asked).image_size == image_size

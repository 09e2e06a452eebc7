"""Settings that no model can have: one line that names the file, no traceback and no machine out of memory."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from capfilt.core.errors import ModelError
from capfilt.models.json_file import read_object
from capfilt.models.registry import registry

ODD: dict[str, Any] = {
    "no object": [],
    "endless layers": {"text_config": {"num_hidden_layers": 10**12}},
    "layers as text": {"text_config": {"num_hidden_layers": "3"}},
    "no layers": {"vision_config": {"num_hidden_layers": 0}},
    "a patch of nothing": {"vision_config": {"patch_size": 0}},
    "half a head": {"text_config": {"num_attention_heads": 2.5}},
    "endless pixels": {"vision_config": {"image_size": 10**12}},
    "endless width": {"text_config": {"intermediate_size": 10**12}},
    "an epsilon of letters": {"text_config": {"layer_norm_eps": "x"}},
    "architectures that are a number": {"architectures": 7},
    "a part that is a list": {"text_config": [1]},
}


@pytest.mark.parametrize("what", ODD)
def test_settings_that_no_model_can_have_are_one_line(
    what: str, published: Callable[[str], Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(published("blip"), tmp_path / "model"))
    settings = json.loads((folder / "config.json").read_text())
    if isinstance(ODD[what], dict):
        for part, more in ODD[what].items():
            settings[part] = settings[part] | more if isinstance(more, dict) else more
    else:
        settings = ODD[what]
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(ModelError) as raised:
        registry.load_captioner(str(folder))
    assert "\n" not in str(raised.value)
    assert str(folder) in str(raised.value)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"depths": [3, 4, 100000]}', "depths = .*: more than 1,000"),
        ('{"vision_cfg": {"layers": 1e12}}', "layers = .*: more than 1,000"),
        ('{"size": {"height": 1000000, "width": 8}}', "height = 1000000: more than 10,000"),
        ('{"layers": NaN}', "layers = nan: more than 1,000"),
        ("\ufeff{", "BOM"),
    ],
)
def test_json_of_a_stranger_is_bounded(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ModelError, match=why):
        read_object(tmp_path / "config.json")


@pytest.mark.parametrize("settings", [{"model_type": ["clip"]}, {"model_type": "clip", "architectures": 7}])
def test_settings_are_one_line_to_all_that_ask_for_a_model(settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(settings))
    for ask in (registry.pixels, registry.columns, registry.positions):
        with pytest.raises(ModelError, match=str(tmp_path)):
            ask(str(tmp_path))

"""What Flamingo cannot be trained on is named before any work."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from capfilt.core.errors import ConfigError
from capfilt.models.formats.guarded import load_part
from capfilt.models.normalize import CLIP_MEAN, CLIP_STD
from capfilt.models.systems.flamingo.build import _add_marks
from capfilt.models.systems.flamingo.episodes import MARKS
from capfilt.models.systems.flamingo.system import FLAMINGO, Flamingo
from capfilt.models.systems.mae.build import new_mae
from capfilt.models.systems.mae.system import MAESize
from capfilt.models.systems.parts.folder import save_folder, squash_processor
from capfilt.models.training.system import Asked, ModelSettings
from tiny_language import write_language


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("flamingo")
    for kind in ("opt", "llama"):
        write_language(home / kind, kind)
    for name, changes in (
        ("grouped", {"num_key_value_heads": 1}),
        ("biased", {"attention_bias": True}),
        ("wide", {"head_dim": 16}),
    ):
        shutil.copytree(home / "llama", home / name)
        config = json.loads((home / name / "config.json").read_text())
        (home / name / "config.json").write_text(json.dumps(config | changes))
    size = MAESize(image_size=32, patch_size=8, width=48, layers=2, heads=4, decoder_width=32)
    save_folder(home / "mae", new_mae(size), squash_processor(32, CLIP_MEAN, CLIP_STD))
    (home / "clip").mkdir()
    vision = {"image_size": 16, "patch_size": 8}
    (home / "clip" / "config.json").write_text(json.dumps({"model_type": "clip", "vision_config": vision}))
    (home / "clip" / "model.safetensors").touch()
    squash_processor(16, CLIP_MEAN, CLIP_STD).save_pretrained(home / "clip")
    return home


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"language": "llama"}, "model.vision: Flamingo connects"),
        ({"vision": "clip"}, "model.language: Flamingo connects"),
        ({"vision": "mae", "language": "llama"}, "Flamingo reads the image tower of a CLIP, not of a vit_mae"),
        ({"vision": "clip", "language": "opt"}, "its model type is opt; Flamingo takes llama"),
        (
            {"vision": "clip", "language": "grouped"},
            "1 key-value heads for 2 attention heads",
        ),
        ({"vision": "clip", "language": "biased"}, "its layers have biases"),
        ({"vision": "clip", "language": "wide"}, "num_attention_heads x head_dim is not hidden_size"),
        ({"start": "mae"}, "its model type is vit_mae, a Flamingo is needed"),
    ],
)
def test_what_does_not_fit_is_one_line_that_names_the_setting(home: Path, changes: dict[str, str], named: str) -> None:
    settings = ModelSettings(**{name: str(home / value) for name, value in changes.items()})
    with pytest.raises(ConfigError, match=named) as caught:
        FLAMINGO.check(Asked(system=FLAMINGO, model=settings, own=(Flamingo(max_tokens=12),)))
    assert "\n" not in str(caught.value)


def test_an_episode_must_fit_into_the_positions(home: Path) -> None:
    settings = ModelSettings(vision=str(home / "clip"), language=str(home / "llama"))
    asked = Asked(system=FLAMINGO, model=settings, own=(Flamingo(images=3, max_tokens=16),))
    assert FLAMINGO.check(asked).image_size == 16
    with pytest.raises(ConfigError, match="5 images with their texts, the last one left out, take 84 of"):
        FLAMINGO.check(Asked(system=FLAMINGO, model=settings, own=(Flamingo(images=5, max_tokens=16),)))


def test_marks_follow_the_embeddings_where_these_are_more_than_the_words(home: Path) -> None:
    words: Any = load_part("AutoTokenizer", home / "llama")
    count = len(words)
    _add_marks(words, count + 5)
    assert words.convert_tokens_to_ids(list(MARKS)) == [count + 5, count + 6]

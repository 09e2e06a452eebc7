"""What a training says of its data before it starts."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.errors import ConfigError, InputError, ModelError
from capfilt.models.pixels import PixelSpec
from capfilt.models.systems.parts.tower_info import tower_info
from capfilt.models.systems.registry import SYSTEMS
from capfilt.pipelines.training_data.pairs import TrainingPairs
from capfilt.training.data import human_alone, load_data
from capfilt.training.recipes import load_training
from capfilt.training.train import Request, train
from pictures import picture

SYSTEM = SYSTEMS["filter"]


def pairs(path: Path, source: str, texts: list[str], *settings: str) -> TrainingPairs:
    rows = [{"image": picture(1, 16), "captions": [{"text": text, "source": source}]} for text in texts]
    pq.write_table(pa.Table.from_pylist(rows), path / "pairs.parquet")
    recipe = load_training("small", "filter", ("schedule.batch=2", *settings))
    return load_data(SYSTEM, (str(path / "pairs.parquet"),), recipe, PixelSpec(16))


def test_a_filter_learns_from_human_texts_or_says_that_it_does_not(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no text of source human \(data.sources\)"):
        pairs(tmp_path, "web", ["a dog", "a cat"])
    web = pairs(tmp_path, "web", ["a dog", "a cat"], 'data.sources=["web"]')
    assert [line.split(":")[0] for line in human_alone(SYSTEM, web)] == ["warning"]
    assert human_alone(SYSTEMS["med"], web) == []
    assert human_alone(SYSTEM, pairs(tmp_path, "human", ["a dog", "a cat"])) == []


@pytest.mark.parametrize("text", ["", "   ", "!!!", "\u2026"])
def test_texts_without_a_word_are_not_learned(text: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no text of source human \(data.sources\)"):
        pairs(tmp_path, "human", [text, text])
    found = pairs(tmp_path, "human", [text, "a dog", "\u72d7"])
    assert (len(found), sum(found.left_out.values())) == (2, 1)


def test_nothing_to_learn_is_one_line_before_work(tmp_path: Path) -> None:
    off = [f"objectives.{name}=0" for name in ("itc", "itm", "lm", "token_itm")]
    with pytest.raises(ConfigError, match="are all 0: there is nothing to learn"):
        train(Request("med", ("nowhere.parquet",), tmp_path / "out", load_training("small", "med", tuple(off))))


@pytest.mark.parametrize(
    ("task", "settings"),
    [
        ("alpha-clip", {"model_type": "clip", "architectures": ["CLIPModel"], "vision_config": "big"}),
        ("alpha-clip", {"model_type": "clip", "architectures": 7}),
        ("flamingo", {"model_type": "idefics", "vision_config": []}),
        ("llava-tune", {"model_type": "llava", "vision_config": {"image_size": 32, "patch_size": 8}, "text_config": 3}),
    ],
)
def test_odd_settings_of_a_start_are_one_line_before_work(task: str, settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "start").mkdir()
    (tmp_path / "start" / "config.json").write_text(json.dumps(settings))
    (tmp_path / "start" / "model.safetensors").write_bytes(b"")
    recipe = load_training("small", task, (f"model.start={tmp_path / 'start'}",))
    with pytest.raises(ModelError, match=str(tmp_path / "start")) as caught:
        train(Request(task, ("nowhere.parquet",), tmp_path / "out", recipe))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("task", "setting"), [("med", "start"), ("vqa", "start"), ("qformer", "vision")])
def test_a_checkpoint_of_another_system_names_its_setting(task: str, setting: str, tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    (tmp_path / "clip" / "config.json").write_text(json.dumps({"model_type": "clip"}))
    recipe = load_training("small", task, (f"model.{setting}={tmp_path / 'clip'}",))
    with pytest.raises(ModelError, match=rf"^model\.{setting} = '.*clip': ") as caught:
        train(Request(task, ("nowhere.parquet",), tmp_path / "out", recipe))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_talks_are_for_a_system_that_reads_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data\.talks: filter learns from captions"):
        pairs(tmp_path, "human", ["a dog", "a cat"], "data.talks=talks.parquet")


def test_a_tower_that_needs_a_mask_is_not_taken_without_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip", "alpha": "ones"}))
    with pytest.raises(ConfigError, match=r"model\.vision = .*an Alpha-CLIP whose tower needs a mask"):
        tower_info(str(tmp_path))

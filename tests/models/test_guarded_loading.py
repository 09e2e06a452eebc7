"""A checkpoint is data: whatever its files ask for, none of their code runs and no request leaves the machine."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from capfilt.core.errors import ModelError
from capfilt.models.registry import registry

Published = Callable[[str], Path]

HOSTILE = """
import os, pathlib
pathlib.Path(__file__).with_name("ran").write_text(os.environ.get("HF_TOKEN", "no token"))
from transformers import PreTrainedTokenizerFast
class Words(PreTrainedTokenizerFast):
    pass
"""


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The hosts that anything tries to reach; a hub token lies in the environment, as on most machines."""
    hosts: list[str] = []

    def refuse(host: Any, *_: Any, **__: Any) -> Any:
        hosts.append(str(host))
        raise OSError(f"asked for {host}")

    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    yield hosts
    assert hosts == []


def change(folder: Path, file: str, **parts: dict[str, Any]) -> None:
    """Merge settings into parts of a JSON file."""
    path = folder / file
    whole = json.loads(path.read_text())
    for name, more in parts.items():
        section = whole
        for step in name.split("__"):
            section = section.setdefault(step, {})
        section |= more
    path.write_text(json.dumps(whole))


def plant(folder: Path) -> Path:
    """Put a module beside a tokenizer that names it; where it would leave its mark."""
    (folder / "hostile.py").write_text(HOSTILE)
    path = folder / "tokenizer_config.json"
    whole = json.loads(path.read_text()) if path.is_file() else {}
    auto = {"AutoTokenizer": ["hostile.Words", "hostile.Words"]}
    path.write_text(json.dumps(whole | {"tokenizer_class": "Words", "auto_map": auto}))
    return folder / "ran"


def traces(*roots: Path) -> list[Path]:
    """Marks that a planted module left, wherever transformers copied it to."""
    return [path for root in roots for path in root.rglob("ran")]


@pytest.fixture
def copied(published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A checkpoint of the name, to be spoilt."""
    import shutil

    import transformers.dynamic_module_utils

    monkeypatch.setattr(transformers.dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))

    def copy(name: str) -> Path:
        return Path(shutil.copytree(published(name), tmp_path / name))

    return copy


def test_tokenizer_settings_of_an_open_clip_folder_cannot_switch_code_on(copied: Published, tmp_path: Path) -> None:
    folder = copied("siglip")
    plant(folder)
    change(folder, "open_clip_config.json", model_cfg__text_cfg__tokenizer_kwargs={"trust_remote_code": True})
    with pytest.raises(ModelError, match=r"tokenizer_kwargs\.trust_remote_code") as caught:
        registry.load_judge(str(folder))
    assert "\n" not in str(caught.value)
    assert traces(tmp_path) == []


@pytest.mark.parametrize(
    "more",
    [{"hf_model_name": "someone/text-tower"}, {"hf_model_name": "someone/text-tower", "hf_model_pretrained": True}],
)
def test_an_open_clip_folder_cannot_name_a_text_tower_of_the_hub(copied: Published, more: dict[str, Any]) -> None:
    folder = copied("siglip")
    change(folder, "open_clip_config.json", model_cfg__text_cfg=more)
    with pytest.raises(ModelError, match="hf_model_name"):
        registry.load_judge(str(folder))


@pytest.mark.parametrize("name", ["hf-hub:someone/tower", "hf_hub:someone/tower", "local-dir:/somewhere"])
def test_an_open_clip_folder_cannot_name_an_image_tower_of_the_hub(copied: Published, name: str) -> None:
    folder = copied("siglip")
    change(folder, "open_clip_config.json", model_cfg__vision_cfg={"timm_model_name": name})
    with pytest.raises(ModelError, match="timm_model_name"):
        registry.load_judge(str(folder))


def test_an_image_tower_of_timm_is_never_loaded_pretrained(copied: Published) -> None:
    folder = copied("siglip")
    change(folder, "open_clip_config.json", model_cfg__vision_cfg={"timm_model_pretrained": True})
    assert registry.load_judge(str(folder)).columns == ("clip",)

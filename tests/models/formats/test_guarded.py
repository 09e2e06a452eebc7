"""A checkpoint is data: whatever its files ask for, none of their code runs and no request leaves the machine."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from capfilt.core.errors import ModelError
from capfilt.models.formats.guarded import load_part
from capfilt.models.protocols import Decoding
from capfilt.models.qformer.language import LanguageModel
from capfilt.models.registry import registry
from capfilt.models.registry.probe import plain_images
from capfilt.models.systems.med.start import load_for_training

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


# --- every route, with everything that a folder could ask for ---------------------------------------------------------


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.write_text, (self.mark, "ran")


def configurations(folder: Path) -> list[Path]:
    return sorted(folder.glob("*config.json"))


def into_all(folder: Path, more: dict[str, Any]) -> None:
    """Write settings into every configuration of a folder, and into the parts of each."""
    for path in configurations(folder):
        whole = json.loads(path.read_text())
        for part in [whole, *(value for value in whole.values() if isinstance(value, dict))]:
            part |= more
        path.write_text(json.dumps(whole))


def with_code(folder: Path) -> None:
    (folder / "hostile.py").write_text(HOSTILE)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(HOSTILE)
    autos = ("AutoConfig", "AutoModel", "AutoModelForImageTextToText", "AutoModelForCausalLM", "AutoProcessor")
    autos += ("AutoImageProcessor", "AutoTokenizer")
    names = {auto: "hostile.Words" for auto in autos} | {"AutoTokenizer": ["hostile.Words", "hostile.Words"]}
    for path in configurations(folder):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"auto_map": names}))


def with_code_of_the_hub(folder: Path) -> None:
    names = {"AutoConfig": "someone/model--hostile.Words", "AutoModel": "someone/model--hostile.Words"}
    names |= {"AutoTokenizer": ["someone/model--hostile.Words"] * 2, "AutoProcessor": "someone/model--hostile.Words"}
    into_all(folder, {"auto_map": names, "_name_or_path": "someone/model", "name_or_path": "someone/model"})


def with_pickles(folder: Path) -> None:
    import pickle

    for name in ("pytorch_model.bin", "open_clip_pytorch_model.bin", "model.pth", "training_args.bin", "model.pkl"):
        (folder / name).write_bytes(pickle.dumps(Bomb(folder / "ran")))


def with_pickles_alone(folder: Path) -> None:
    with_pickles(folder)
    for path in folder.rglob("*.safetensors"):
        path.unlink()


def with_trust(folder: Path) -> None:
    with_code(folder)
    into_all(folder, {"trust_remote_code": True, "local_files_only": False, "use_safetensors": False})


def with_an_adapter(folder: Path) -> None:
    settings = {"base_model_name_or_path": "someone/base", "peft_type": "LORA"}
    (folder / "adapter_config.json").write_text(json.dumps(settings))


def with_an_audio_tokenizer(folder: Path) -> None:
    named = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "someone/audio"}
    path = folder / "processor_config.json"
    whole = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(whole | {"audio_tokenizer": named}))


def with_a_kernel(folder: Path) -> None:
    into_all(folder, {"attn_implementation": "someone/kernel", "_attn_implementation": "someone/kernel"})


def with_a_backbone(folder: Path) -> None:
    into_all(folder, {"backbone": "someone/backbone", "use_timm_backbone": True, "use_pretrained_backbone": True})


def with_another_tower(folder: Path) -> None:
    into_all(folder, {"hf_model_name": "someone/text", "timm_model_name": "hf-hub:someone/image"})


HOSTILITIES: dict[str, Callable[[Path], None]] = {
    function.__name__: function
    for function in (
        with_code,
        with_code_of_the_hub,
        with_pickles,
        with_pickles_alone,
        with_trust,
        with_an_adapter,
        with_an_audio_tokenizer,
        with_a_kernel,
        with_a_backbone,
        with_another_tower,
    )
}


def captioner(folder: Path) -> None:
    loaded = registry.load_captioner(str(folder))
    images = plain_images(loaded.pixels)
    loaded.caption(images, [[1]] * len(images), "", Decoding(max_tokens=4))


def judge(folder: Path) -> None:
    loaded = registry.load_judge(str(folder))
    loaded.score(plain_images(loaded.pixels), [["a dog"], ["a cat"]])


def training_start(folder: Path) -> None:
    load_for_training(folder, 32)


def language_model(folder: Path) -> None:
    LanguageModel.load(folder)


def checked(folder: Path) -> None:
    """What `run`, `models` and `train` ask before they load anything."""
    registry.check(str(folder), "captioner")
    registry.pixels(str(folder), "captioner")


ROUTES: dict[str, tuple[Callable[[Path], None], str]] = {
    "captioner BLIP": (captioner, "blip"),
    "captioner BLIP-2": (captioner, "blip2"),
    "captioner InstructBLIP": (captioner, "instructblip"),
    "captioner LLaVA": (captioner, "llava"),
    "captioner Qwen2-VL": (captioner, "qwen2-vl"),
    "judge BLIP": (judge, "blip-itm"),
    "judge BLIP-2": (judge, "blip2-itm"),
    "judge open_clip": (judge, "clip"),
    "judge open_clip with a tokenizer": (judge, "siglip"),
    "judge CLIP": (judge, "clip-transformers"),
    "judge SigLIP": (judge, "siglip-transformers"),
    "train --start": (training_start, "blip"),
    "model.language": (language_model, "language"),
    "check": (checked, "llava"),
}


@pytest.mark.slow
@pytest.mark.parametrize("hostility", HOSTILITIES)
@pytest.mark.parametrize("route", ROUTES)
def test_no_route_runs_code_or_asks_a_host(copied: Published, tmp_path: Path, route: str, hostility: str) -> None:
    """It loads as it would have without, or is refused in one line; that no host is asked, `asked` checks."""
    load, name = ROUTES[route]
    folder = copied(name)
    HOSTILITIES[hostility](folder)
    said = ""
    try:
        load(folder)
    except ModelError as error:
        said = str(error)
    assert "\n" not in said
    assert "hf_secret" not in said
    assert traces(tmp_path) == []


@pytest.mark.parametrize("route", ROUTES)
def test_every_route_loads_what_is_honest(copied: Published, route: str) -> None:
    """Or the test above would hold for a route that loads nothing."""
    load, name = ROUTES[route]
    load(copied(name))


@pytest.mark.parametrize(
    "setting",
    [
        {"audio_tokenizer": {"audio_tokenizer_name_or_path": "someone/audio"}},
        {"base_model_name_or_path": "someone/base"},
        {"text_config": {"experts_implementation": "someone/kernel"}},
        {"vision_config": {"backbone_config": {"use_pretrained_backbone": True}}},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_a_setting_that_names_another_model_is_refused_by_its_name(setting: dict[str, Any], tmp_path: Path) -> None:
    """Before a library sees the folder: that it is offline meanwhile is the second wall, and not the first."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"} | setting))
    with pytest.raises(ModelError, match=r"config\.json: .* a checkpoint may not load another"):
        load_part("AutoConfig", tmp_path)

"""Published checkpoints that somebody has altered, cut or quantized: each is one line before it judges or captions.

Every one of them loads without an error in the libraries below, or fails there in words of their own.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from capfilt.core.errors import ModelError
from capfilt.models.protocols import Decoding
from capfilt.models.registry import registry
from capfilt.models.registry.probe import plain_images, probe_captioner

Published = Callable[[str], Path]
Change = Callable[[Path], None]


@pytest.fixture
def altered(published: Published, tmp_path: Path) -> Callable[[str, Change], Path]:
    def alter(name: str, change: Change) -> Path:
        folder = Path(shutil.copytree(published(name), tmp_path / name))
        change(folder)
        return folder

    return alter


def tensors(change: Callable[[str, Tensor], Tensor]) -> Change:
    def apply(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        new = {name: change(name, tensor) for name, tensor in weights.items()}
        save_file(new, folder / "model.safetensors", metadata={"format": "pt"})

    return apply


def setting(file: str, *path: str, value: Any) -> Change:
    def apply(folder: Path) -> None:
        settings = json.loads((folder / file).read_text())
        at = settings
        for name in path[:-1]:
            at = at[name]
        at[path[-1]] = value
        (folder / file).write_text(json.dumps(settings))

    return apply


def pixels(name: str, value: Any) -> Change:
    return setting("processor_config.json", "image_processor", name, value=value)


def words(change: Callable[[list[str]], list[str]]) -> Change:
    def apply(folder: Path) -> None:
        lines = (folder / "vocab.txt").read_text().split("\n")[:-1]
        (folder / "vocab.txt").write_text("\n".join(change(lines)) + "\n")

    return apply


def in_two_files(folder: Path, twice: bool = False) -> None:
    weights = load_file(folder / "model.safetensors")
    names = sorted(weights)
    parts = {"a.safetensors": names[: len(names) // 2], "b.safetensors": names[len(names) // 2 - twice :]}
    for file, own in parts.items():
        save_file({name: weights[name] * 2 for name in own}, folder / file, metadata={"format": "pt"})
    index = {name: file for file, own in parts.items() for name in own}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (folder / "model.safetensors").unlink()


def cut(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def int8(name: str, tensor: Tensor) -> Tensor:
    return tensor.to(torch.int8) if tensor.ndim == 2 else tensor


def float8(name: str, tensor: Tensor) -> Tensor:
    return tensor.to(torch.float8_e4m3fn) if tensor.ndim == 2 else tensor


@pytest.mark.parametrize("name", ["blip-itm", "clip-transformers"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (tensors(int8), "weight holds I8: quantized weights are not supported"),
        (tensors(float8), "weight holds F8_E4M3: quantized weights are not supported"),
        (lambda folder: in_two_files(folder, twice=True), r"b\.safetensors: .* stands in a\.safetensors too"),
        (cut, "SafetensorError"),
        (
            setting("config.json", "quantization_config", value={"bits": 4}),
            r"quantization_config = .* is not supported",
        ),
    ],
    ids=["int8", "float8", "in two shards", "cut", "said to be quantized"],
)
def test_weights_that_would_be_misread_are_refused(
    name: str, change: Change, said: str, altered: Callable[[str, Change], Path]
) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        registry.load_judge(str(altered(name, change)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (words(lambda lines: lines[:-3]), r"not the words of this model: \[DEC\] is"),
        (words(lambda lines: [line for line in lines if line != "[UNK]"]), r"not the words of this model: \[DEC\] is"),
        (words(lambda lines: ["dog" if line == "cat" else line for line in lines]), "not the words of this model"),
        (words(lambda lines: [*lines, "qqa", "qqb", "qqc"]), "words, more than the"),
    ],
    ids=["three fewer", "no [UNK]", "one twice", "three more"],
)
def test_other_words_than_the_model_s_are_refused(
    change: Change, said: str, altered: Callable[[str, Change], Path]
) -> None:
    with pytest.raises(ModelError, match=said):
        registry.load_judge(str(altered("blip-itm", change)))


def test_words_are_the_same_however_their_file_ends(
    published: Published, altered: Callable[[str, Change], Path]
) -> None:
    def no_end(folder: Path) -> None:
        data = (folder / "vocab.txt").read_bytes()
        (folder / "vocab.txt").write_bytes(data.removesuffix(b"\n").replace(b"\n", b"\r\n"))

    judge, other = (registry.load_judge(str(one)) for one in (published("blip-itm"), altered("blip-itm", no_end)))
    images = plain_images(judge.pixels)
    assert isinstance(images, Tensor)
    assert judge.score(images, [["a dog"], ["a cat"]]) == other.score(images, [["a dog"], ["a cat"]])


@pytest.mark.parametrize("name", ["clip-transformers", "siglip-transformers"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("do_rescale", False),
        ("do_normalize", False),
        ("rescale_factor", 1 / 127.5),
        ("image_mean", None),
        ("image_mean", [0.5]),
        ("image_std", [0.0, 0.0, 0.0]),
    ],
)
def test_pixels_that_a_judge_would_not_make_are_refused_by_name(
    name: str, setting: str, value: Any, altered: Callable[[str, Change], Path]
) -> None:
    with pytest.raises(ModelError, match=f"image processor: {setting} = .* is not supported"):
        registry.check(str(altered(name, pixels(setting, value))), "filter")


def test_one_number_stands_for_all_three_colors(altered: Callable[[str, Change], Path], tmp_path: Path) -> None:
    one = altered("siglip-transformers", pixels("image_mean", 0.25))
    three = Path(shutil.copytree(one, tmp_path / "three"))
    pixels("image_mean", [0.25, 0.25, 0.25])(three)
    judges = [registry.load_judge(str(folder)) for folder in (one, three)]
    images = plain_images(judges[0].pixels)
    assert isinstance(images, Tensor)
    first, second = (judge.score(images, [["a dog"], ["a cat"]]) for judge in judges)
    assert first == second


@pytest.mark.parametrize("name", ["blip", "llava"])
def test_a_captioner_of_nan_is_told_by_its_weights(name: str, altered: Callable[[str, Change], Path]) -> None:
    broken = altered(name, tensors(lambda _, tensor: tensor * float("nan")))
    with pytest.raises(ModelError, match="its weights are no finite numbers"):
        probe_captioner(registry.load_captioner(str(broken)), "", Decoding(max_tokens=4))


@pytest.mark.parametrize("role", ["captioner", "filter"])
def test_a_language_model_is_called_one(role: Any, published: Published) -> None:
    with pytest.raises(ModelError, match="no image processor: OPTForCausalLM is a language model"):
        registry.check(str(published("language")), role)


def test_shards_with_an_index_load(altered: Callable[[str, Change], Path]) -> None:
    folder = altered("siglip-transformers", in_two_files)
    assert registry.load_judge(str(folder)).digest == registry.check(str(folder), "filter")
    (folder / "b.safetensors").unlink()
    with pytest.raises(ModelError, match="1 of 2 files of weights are missing: b"):
        registry.check(str(folder), "filter")

"""A captioner that does not caption is found out on two plain pictures."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from capfilt.core.errors import ModelError
from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import Decoding
from capfilt.models.registry import registry
from capfilt.models.registry.probe import is_one_word_again_and_again, plain_images, probe_captioner, probe_judge
from command_line import invoke

Published = Callable[[str], Path]


def test_one_that_repeats_is_named_and_quoted(published: Callable[[str], Path]) -> None:
    captioner = registry.load_captioner(str(published("blip-dai-dai")))
    with pytest.raises(ModelError, match=r"captioner 'blip-dai-dai' writes 'dai dai dai .* but not to caption"):
        probe_captioner(captioner, "a picture of", Decoding())


@pytest.mark.parametrize("name", ["blip", "qwen2-vl", "vit-gpt2"])
def test_others_pass(published: Callable[[str], Path], name: str) -> None:
    probe_captioner(registry.load_captioner(str(published(name))), "", Decoding(max_tokens=12))


@pytest.mark.parametrize(
    ("text", "repeats"),
    [
        ("dai dai dai", True),
        ("daidaidaidai", True),
        ("the the the the", True),
        ("1 1 1 1", True),
        ("a dog on a hill", False),
        ("dai dai", False),
        ("dai dai dai a dog", False),
        ("", False),
    ],
)
def test_what_counts_as_repeating(text: str, repeats: bool) -> None:
    assert is_one_word_again_and_again(text) is repeats


def test_plain_images_are_as_the_captioner_wants_them() -> None:
    squares = plain_images(PixelSpec(32))
    assert not isinstance(squares, list)
    assert squares.shape == (2, 32, 32, 3)
    anything = plain_images(PixelSpec(96, "fit"))
    assert isinstance(anything, list)
    assert [picture.shape for picture in anything] == [(96, 96, 3)] * 2


def test_a_chat_model_without_its_template_is_told_which_setting_helps(published: Published, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(published("llava"), tmp_path / "llava"))
    (folder / "chat_template.jinja").unlink()
    assert "chat_template" not in (folder / "processor_config.json").read_text()
    captioner = registry.load_captioner(str(folder))
    with pytest.raises(ModelError, match=r"captioner 'llava' cannot caption .* set caption\.template"):
        probe_captioner(captioner, "", Decoding(max_tokens=8))


@pytest.mark.parametrize("name", ["blip", "blip2", "llava", "vit-gpt2"])
def test_more_tokens_than_positions_are_refused_by_the_setting_s_name(published: Published, name: str) -> None:
    captioner = registry.load_captioner(str(published(name)))
    with pytest.raises(
        ModelError, match=r"caption\.max_tokens = 5000: .* has room for [0-9]+ tokens after the prompt$"
    ):
        probe_captioner(captioner, "", Decoding(max_tokens=5000))


def test_a_judge_whose_weights_are_broken_is_named(published: Published, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(published("clip-transformers"), tmp_path / "clip"))
    weights = load_file(folder / "model.safetensors")
    weights["visual_projection.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"judge 'clip' gives clip = nan to a plain image: its weights are broken"):
        probe_judge(registry.load_judge(str(folder)))


def test_what_only_a_try_can_prove_is_told_by_its_files(published: Published, checkpoint: Path) -> None:
    assert registry.is_unproven("http://127.0.0.1:9/v1", "captioner")
    assert registry.is_unproven(str(published("blip")), "captioner")
    assert registry.is_unproven(f"b32={published('clip')}", "filter")
    assert not registry.is_unproven(str(checkpoint), "captioner")
    assert not registry.is_unproven("python:some:Thing", "captioner")


def test_a_run_with_a_model_that_cannot_ends_in_one_line_before_it_is_planned(
    published: Published, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(published("llava"), tmp_path / "llava"))
    (folder / "chat_template.jinja").unlink()
    Image.new("RGB", (40, 30)).save(tmp_path / "one.png")
    out = tmp_path / "out"
    settings = ["--set", f"caption.captioner={folder}", "--set", "score.judges=[]", "--set", "select.policy=all"]
    done = invoke("run", tmp_path / "one.png", "--out", out, *settings)
    assert done.exit_code == 2
    assert "caption.template" in done.stderr
    assert not (out / "run.toml").exists()

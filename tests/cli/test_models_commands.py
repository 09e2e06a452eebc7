"""`capfilt models`, `capfilt caption` and `capfilt score`, with models that their own libraries saved."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from capfilt.models.registry.catalog import CATALOG
from command_line import invoke

Published = Callable[[str], Path]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    Image.linear_gradient("L").resize((90, 60)).convert("RGB").save(path)
    return path


def test_every_model_is_told_on_one_line_of_80_columns() -> None:
    told = invoke("models").stdout
    for card in CATALOG.values():
        words = re.compile(
            rf"^{re.escape(card.name)} +{card.parameters} +{card.license} +(here|hub)( |$)", re.MULTILINE
        )
        assert words.search(told), card.name
    assert max(map(len, told.splitlines())) <= 80
    assert re.search(r"blip-image-captioning-large .* a picture of$", told, re.MULTILINE)
    assert re.search(r"open_clip:ViT-L-14:openai .* clip$", told, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["blip", "blip2", "qwen2-vl"])
def test_a_captioner_on_the_spot(published: Published, photo: Path, name: str) -> None:
    result = invoke("caption", photo, photo, "--captioner", published(name), "--set", "caption.max_tokens=6")
    assert result.exit_code == 0, result.stderr
    assert result.stderr == ""
    lines = [line for line in result.stdout.splitlines() if re.search(r"-\d+\.\d+", line)]
    assert len(lines) == 6
    assert re.search(r"^image +caption +logprob +flags$", result.stdout, re.MULTILINE)
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.slow
def test_judges_on_the_spot(published: Published, photo: Path) -> None:
    clip = published("clip")
    judges = ("--judge", published("blip-itm"), "--judge", clip, "--judge", f"other={clip}")
    result = invoke("score", photo, "a dog on a hill", "\x1b[2Jnothing", *judges)
    assert result.exit_code == 0, result.stderr
    assert re.search(r"^text +itm +itc +clip +clip_other$", result.stdout, re.MULTILINE)
    assert re.search(r"^a dog on a hill +0\.\d+ +-?0\.\d+ +(-?0\.\d+) +\1$", result.stdout, re.MULTILINE)
    assert r"\x1b[2Jnothing" in result.stdout
    assert "\x1b" not in result.stdout


def test_the_demo_s_models_are_tried_with_a_warning(photo: Path) -> None:
    captioned, scored = invoke("caption", photo, "--n", "1"), invoke("score", photo, "a red ring")
    assert (captioned.exit_code, scored.exit_code) == (0, 0)
    assert captioned.stderr.startswith("warning: demo-captioner: trained on drawn shapes")
    assert scored.stderr.startswith("warning: demo-filter: trained on drawn shapes")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["caption", "none.jpg"], "none.jpg: No such file or directory"),
        (["caption", "photo.jpg", "none.jpg"], "none.jpg: No such file or directory"),
        (["caption", "."], ".: Is a directory"),
        (["caption", "no.jpg"], "no.jpg: not_an_image ("),
        (["caption", "photo.jpg", "--captioner", "nope"], "model 'nope' is neither"),
        (["caption", "photo.jpg", "--captioner", "demo-filter"], "is not a captioner; it is a filter"),
        (["caption", "photo.jpg", "--captioner", "http://127.0.0.1:9/v1"], "its list of models cannot be read"),
        (["caption", "photo.jpg", "--set", "caption.nope=1"], "unknown setting caption.nope"),
        (["score", "none.jpg", "a dog"], "none.jpg: No such file or directory"),
        (["score", "photo.jpg", "a dog", "--judge", "demo-captioner"], "is not a filter; it is a captioner"),
        (
            ["score", "photo.jpg", "a dog", "--judge", "demo-filter", "--judge", "demo-filter"],
            "score.judges: 'demo-filter' and 'demo-filter' both give the column 'itm'; tell one apart by a tag:",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    (photo.parent / "no.jpg").write_text("<html>")
    result = invoke(*arguments)
    said = [text for text in result.stderr.splitlines() if not text.startswith("warning: ")]
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert line in said[0]
    assert (result.exit_code, result.stdout) == (2, "")


def test_one_that_says_one_word_over_and_over_is_found_out(published: Published, photo: Path) -> None:
    result = invoke("caption", photo, "--captioner", published("blip-dai-dai"))
    assert result.exit_code == 2
    assert "captioner 'blip-dai-dai' writes 'dai dai dai" in result.stderr

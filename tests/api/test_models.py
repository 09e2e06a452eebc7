"""One captioner, one judge, a picture in any form a program has it."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

import capfilt


@pytest.fixture(scope="module")
def files(pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{number}.jpg" for number in range(3)]
    for path, data in zip(paths, pq.read_table(pairs)["image"].to_pylist(), strict=False):
        path.write_bytes(data)
    return paths


@pytest.fixture(scope="module")
def captioner(checkpoint: Path) -> capfilt.LoadedCaptioner:
    return capfilt.load_captioner(str(checkpoint), device="cpu")


@pytest.fixture(scope="module")
def judge(checkpoint: Path) -> capfilt.LoadedJudge:
    return capfilt.load_judge(str(checkpoint), device="cpu")


@pytest.mark.slow
def test_captions_of_each_image_that_depend_on_no_other(captioner: capfilt.LoadedCaptioner, files: list[Path]) -> None:
    together = captioner.caption(files, n=3)
    assert [len(own) for own in together] == [3, 3, 3]
    assert all(caption.text and caption.logprob and caption.logprob < 0 for own in together for caption in own)
    alone = captioner.caption([files[1].read_bytes()], n=3)
    assert [caption.text for caption in alone[0]] == [caption.text for caption in together[1]]
    assert captioner.caption(files[:1], n=3, seed=7) != together[:1]
    assert captioner.caption([]) == []


def test_a_judge_scores_each_text(judge: capfilt.LoadedJudge, files: list[Path]) -> None:
    scores = judge.score(files[0], ["a red circle", "two stars", "a red circle"])
    assert judge.columns == ("itm", "itc")
    assert [set(score) for score in scores] == [{"itm", "itc"}] * 3
    assert all(0 <= score["itm"] <= 1 and -1.001 <= score["itc"] <= 1.001 for score in scores)
    assert scores[0] == scores[2]
    assert judge.score(files[0], []) == []


def test_a_picture_is_a_path_bytes_a_pillow_image_or_an_array(judge: capfilt.LoadedJudge, files: list[Path]) -> None:
    image = Image.open(files[0]).convert("RGB")
    png = io.BytesIO()
    image.save(png, "PNG")
    forms = [image, np.array(image), png.getvalue()]
    assert len({judge.score(form, ["a star"])[0]["itm"] for form in forms}) == 1
    assert judge.score(str(files[0]), ["a star"]) == judge.score(files[0].read_bytes(), ["a star"])


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (b"<html>", "image 0: not_an_image"),
        ("nowhere.jpg", "nowhere.jpg: No such file"),
        (np.zeros((4, 4)), r"image 0 is a ndarray of float64 \[4, 4\]; expected a path"),
        (None, "image 0 is a NoneType; expected a path"),
    ],
)
def test_what_is_no_picture_is_an_input_error(judge: capfilt.LoadedJudge, picture: object, said: str) -> None:
    with pytest.raises(capfilt.InputError, match=said):
        judge.score(picture, ["a star"])  # type: ignore[arg-type]


def test_what_is_no_model_is_a_model_error(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(capfilt.ModelError, match=r"a directory without a config\.json"):
        capfilt.load_captioner(str(tmp_path))
    with pytest.raises(capfilt.ConfigError, match=r"caption\.bims"):
        capfilt.load_captioner(str(checkpoint), set={"caption.bims": 3})
    with pytest.raises(capfilt.ConfigError, match=r"caption\.n"):
        capfilt.load_captioner(str(checkpoint)).caption([], n=-1)


def test_what_is_known_by_name() -> None:
    assert "demo-captioner" in {card.name for card in capfilt.list_captioners()}
    assert next(card.columns for card in capfilt.list_judges() if card.name == "demo-filter") == ("itm", "itc")
    assert {"all", "blip", "quantile"} <= set(capfilt.list_policies())


@pytest.mark.slow
def test_no_ray_is_loaded_for_a_model(checkpoint: Path, files: list[Path]) -> None:
    script = (
        "import sys, capfilt\n"
        f"print(capfilt.load_captioner({str(checkpoint)!r}).caption([{str(files[0])!r}])[0][0].text != '')\n"
        "print('ray' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
    assert done.stderr == ""

"""The file of `caption.shots`: what is wrong with it is one line, and its images are those that a run shows."""

import io
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from capfilt.core.errors import ConfigError
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.examples.shots import digest_of_shots, load_shots
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.stages.stage_models import check_models


def png(width: int, height: int, color: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, "PNG")
    return file.getvalue()


def write(folder: Path, rows: dict[str, Any]) -> str:
    pq.write_table(pa.table(rows), folder / "shots.parquet")
    return str(folder / "shots.parquet")


@pytest.mark.parametrize(("mode", "shape"), [("squash", (64, 64)), ("fit", (64, 32))])
def test_examples_come_in_the_pixels_that_the_captioner_asks_for(
    tmp_path: Path, mode: Literal["squash", "fit"], shape: tuple[int, int]
) -> None:
    file = write(tmp_path, {"image": [png(128, 64), png(128, 64, "blue")], "text": ["a wall", "the sea"]})
    shots = load_shots(file, PixelSpec(64, mode))
    assert [shot.text for shot in shots] == ["a wall", "the sea"]
    assert [shot.picture.size for shot in shots] == [shape] * 2
    assert [shot.picture.getpixel((1, 1)) for shot in shots] == [(255, 0, 0), (0, 0, 255)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ({"image": [png(8, 8)]}, "columns image and text"),
        ({"image": [png(8, 8)], "text": [None]}, "every example needs an image and a text"),
        ({"image": [None], "text": ["a"]}, "the bytes of image files are needed"),
        ({"image": ["a.jpg"], "text": ["a"]}, "its column image holds string"),
        ({"image": [{"path": "a.jpg"}], "text": ["a"]}, "no Parquet file of examples"),
        ({"image": [png(8, 8)], "text": pa.array([b"\xff"]).cast(pa.string(), safe=False)}, "no Parquet file of exam"),
        ({"image": pa.array([], pa.binary()), "text": pa.array([], pa.string())}, "0 examples; from 1 to 32"),
        ({"image": [png(8, 8)] * 33, "text": ["a"] * 33}, "33 examples; from 1 to 32"),
    ],
)
def test_a_file_without_examples_is_one_line(tmp_path: Path, rows: dict[str, Any], said: str) -> None:
    file = write(tmp_path, rows)
    with pytest.raises(ConfigError, match=said) as caught:
        digest_of_shots(file)
    assert "caption.shots" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file_and_no_image_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"caption\.shots = .*no Parquet file"):
        digest_of_shots(str(tmp_path / "nowhere.parquet"))
    file = write(tmp_path, {"image": [png(8, 8), b"no image"], "text": ["a", "b"]})
    with pytest.raises(ConfigError, match="row 1 is not an image"):
        load_shots(file, PixelSpec(32))


def test_other_examples_have_another_digest(tmp_path: Path) -> None:
    first = digest_of_shots(write(tmp_path, {"image": [png(8, 8)], "text": ["a"]}))
    assert first != digest_of_shots(write(tmp_path, {"image": [png(8, 8)], "text": ["b"]}))
    assert first == digest_of_shots(write(tmp_path, {"image": [{"bytes": png(8, 8)}], "text": ["a"]}))


def test_a_captioner_that_takes_no_examples_is_refused_before_work(tmp_path: Path) -> None:
    file = write(tmp_path, {"image": [png(8, 8)], "text": ["a"]})
    recipe = load_recipe("blip", (f"caption.shots={file}", "score.judges=[]"))
    with pytest.raises(ConfigError, match=r"caption\.shots = .*: demo-captioner takes no examples"):
        check_models(recipe)

"""Zero-shot classification of drawn things by their colors, with the judge that ships."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.errors import InputError, ModelError
from capfilt.demo.world import jpeg
from capfilt.demo.world.scene import Scene, Thing
from capfilt.pipelines.evaluation.zero_shot import classify
from capfilt.pipelines.recipes.load import load_recipe
from command_line import invoke

COLORS = ("red", "blue", "green", "yellow")
SHAPES = ("circle", "square", "triangle")


@pytest.fixture(scope="module")
def images() -> list[bytes]:
    """An image of each color and shape, color by color."""
    things = [Thing("large", color, shape) for color in COLORS for shape in SHAPES]
    return [jpeg(Scene((thing,), None, "white", number), 96) for number, thing in enumerate(things)]


def write(path: Path, images: list[bytes], labels: pa.Array, names: tuple[str, ...] = ()) -> str:
    table = pa.table({"image": images, "label": labels})
    if names:
        features = {"label": {"names": list(names), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path)
    return str(path)


def test_classes_are_found_by_their_names_and_two_judges_compared(images: list[bytes], tmp_path: Path) -> None:
    data = write(tmp_path / "data.parquet", images, pa.array(np.repeat(COLORS, 3)))
    out = tmp_path / "out.json"
    texts = ("--classes", "a large {} circle", "--classes", "a {} square")
    done = invoke("evaluate", data, "--judge", "demo-filter", *texts, "--against", "demo-filter", "--out", out)
    assert done.exit_code == 0, done.output
    assert "12 images of 4 classes" in done.output
    assert "25.0 %" in done.output
    told = json.loads(out.read_text())
    assert told["zero_shot"]["classes"] == sorted(COLORS)
    assert told["zero_shot"]["top_1"] == told["zero_shot"]["class_mean"] > 0.7
    assert told["zero_shot"]["top_5"] == 1
    assert told["differences"]["accuracy"] == {"mean": 0, "low": 0, "high": 0}


def test_labels_of_datasets_are_numbers_with_names_and_bad_rows_are_told(images: list[bytes], tmp_path: Path) -> None:
    recipe = load_recipe("blip", ("caption.n=0", 'score.judges=["demo-filter"]'))
    labels = pa.array([*np.repeat(range(4), 3)[:-2], -1, None], pa.int64())
    broken = [b"no image", *images[1:]]
    found = classify([write(tmp_path / "data.parquet", broken, labels, COLORS)], recipe, ["a {} square"])
    assert found.classes == tuple(sorted(COLORS))
    assert found.left_out == {"not_an_image": 1, "no label": 2}
    assert len(found.ranks) == len(found.uids) == 9
    assert found.accuracy(1) > 0.6


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (pa.array([0, 1]), "column label is int64, not a class name or a ClassLabel"),
        (pa.array([0.5, 1.5]), "column label is double"),
        (pa.array(["a", "a"]), "column label has 1 classes, at least 2 are needed"),
        (pa.array(["a", None]), "column label has 1 classes"),
    ],
)
def test_data_that_says_too_little_is_one_line(
    labels: pa.Array, said: str, images: list[bytes], tmp_path: Path
) -> None:
    recipe = load_recipe("blip", ("caption.n=0", 'score.judges=["demo-filter"]'))
    with pytest.raises(InputError, match=said):
        classify([write(tmp_path / "data.parquet", images[:2], labels)], recipe, ["a {}"])


def test_mistakes_of_the_command_are_one_line(images: list[bytes], tmp_path: Path) -> None:
    data = write(tmp_path / "data.parquet", images, pa.array(np.repeat(COLORS, 3)))
    judge = ("evaluate", data, "--judge", "demo-filter")
    for asked, said in (
        ((*judge, "--classes", "a photo"), "must stand where the class name goes"),
        (("evaluate", data, "--captioner", "demo-captioner", "--classes", "a {}"), "--classes needs --judge"),
        ((*judge, "--captioner", "demo-captioner", "--against", "x"), "give --judge or --captioner, not both"),
    ):
        done = invoke(*asked)
        assert (done.exit_code, said in done.output) == (2, True), done.output


def test_a_judge_without_features_is_named(images: list[bytes], tmp_path: Path) -> None:
    data = write(tmp_path / "data.parquet", images, pa.array(np.repeat(COLORS, 3)))
    recipe = load_recipe("blip", ("caption.n=0", 'score.judges=["demo-filter"]', "score.sentences=true"))
    with pytest.raises(ModelError, match="has no features of its own"):
        classify([data], recipe, ["a {}"])

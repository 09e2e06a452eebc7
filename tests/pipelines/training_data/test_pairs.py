"""Parquet as training reads it."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from capfilt.core.errors import ConfigError, InputError
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.training_data.pairs import TrainingPairs, Wanted, load_pairs
from capfilt.pipelines.training_data.sampler import Sampler, Sampling

SPEC = PixelSpec(16, "squash")
REGIONS = {"nothing": [0.5, 0.0, 0.5, 1.0], "left half": [0.0, 0.0, 0.5, 1.0], "three": [0.0] * 3, "all of it": None}


def picture(level: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 24), (level, level, level)).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, rows: list[dict[str, Any]], group: int = 4) -> str:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return str(path)


def row(level: int, *texts: tuple[str, str], **more: Any) -> dict[str, Any]:
    captions = [{"text": text, "source": source, "itm": level / 100} for source, text in texts]
    return {"image": {"bytes": picture(level), "path": f"{level}.png"}, "captions": captions, **more}


def load(*locations: str, **wanted: Any) -> TrainingPairs:
    return load_pairs(locations, Wanted(pixels=SPEC, **wanted))


@pytest.fixture
def two_files(tmp_path: Path) -> tuple[str, str]:
    first = [row(10 * k, ("web", f"web {k}"), ("human", f"human {k}"), wrong=[f"not {k}"]) for k in range(7)]
    first[3]["image"]["bytes"] = b"<html>"
    second = [row(100 + k, ("human", f"late {k}"), uid=f"u{k // 2}") for k in range(4)]
    return write(tmp_path / "a.parquet", first), write(tmp_path / "b.parquet", second)


def test_pictures_texts_and_wrong_texts_of_several_files(two_files: tuple[str, str]) -> None:
    pairs = load(*two_files)
    assert len(pairs) == 10
    assert pairs.left_out == {"not_an_image": 1}
    levels = pairs.pixels(np.arange(10))[:, 8, 8, 0].tolist()
    assert levels == [0, 10, 20, 40, 50, 60, 100, 101, 102, 103]
    words = pairs.words.to_pylist()
    assert words[:4] == ["web 0", "human 0", "web 1", "human 1"]
    assert words[-1] == "late 3"
    assert pairs.texts.starts.tolist() == [0, 2, 4, 6, 8, 10, 12, 13, 14, 15, 16]
    assert pairs.wrong.to_pylist() == [f"not {k}" for k in (0, 1, 2, 4, 5, 6)]
    assert pairs.wrong_starts.tolist() == [0, 1, 2, 3, 4, 5, 6, 6, 6, 6, 6]
    assert pairs.keys[6] == pairs.keys[7] != pairs.keys[8] == pairs.keys[9]
    assert len(set(pairs.keys.tolist())) == 8


def test_what_does_not_fit_memory_is_decoded_when_asked_for(two_files: tuple[str, str]) -> None:
    held, small = load(two_files[1]), load(two_files[1], memory=0)
    assert small.held is None
    numbers = np.array([3, 0, 2, 2])
    assert np.array_equal(held.pixels(numbers), small.pixels(numbers))
    with pytest.raises(InputError, match=r"a\.parquet: row 3 of the data is not an image \(not_an_image\)"):
        load(two_files[0], memory=0).pixels(np.array([1, 3]))


def test_only_the_wanted_sources_and_scores(two_files: tuple[str, str]) -> None:
    pairs = load(two_files[0], sources=("web",), score="itm")
    assert set(pairs.words.to_pylist()) == {f"web {k}" for k in (0, 1, 2, 4, 5, 6)}
    assert pairs.texts.scores.tolist() == pytest.approx([0.0, 0.1, 0.2, 0.4, 0.5, 0.6])
    assert load(two_files[1], sources=("human",)).left_out == {}
    with pytest.raises(InputError, match="no image can be used: no text of source synthetic"):
        load(two_files[1], sources=("synthetic",))
    with pytest.raises(ConfigError, match=r"data\.score = 'clip': no caption has this score"):
        load(two_files[1], score="clip")


def test_a_draw_brings_its_texts(two_files: tuple[str, str]) -> None:
    pairs = load(*two_files)
    sampler = Sampler(pairs.texts, pairs.wrong_starts, Sampling(marked=1), 5, 0)
    draw = next(iter(sampler))
    names = [text.split()[1] for text in pairs.texts_of(draw)]
    levels = pairs.pixels(draw.pictures)[:, 8, 8, 0].tolist()
    assert [f"{level // 10 if level < 100 else level - 100}" for level in levels] == names
    for name, wrong, level in zip(names, pairs.wrong_of(draw), levels, strict=True):
        assert wrong == ([f"not {name}"] if level < 100 else [])


def test_questions(tmp_path: Path) -> None:
    asked = [{"question": "what is it?", "answers": ["a cat", "a cat", "a dog"]}, {"question": "where?", "answers": []}]
    rows = [{"image": picture(5), "questions": asked}, {"image": picture(6), "questions": None}]
    pairs = load(write(tmp_path / "q.parquet", rows), column="questions")
    assert pairs.words.to_pylist() == [asked[0]]
    assert len(pairs) == 1
    assert sum(pairs.left_out.values()) == 1


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"picture": b"x"}], "no column captions, image; there are picture"),
        ([{"image": b"x", "captions": ["a"]}], "column captions is list<.*string>, not a list of captions"),
        ([{"image": b"x", "captions": [{"words": "a"}]}], "captions have no source, text; they have words"),
        ([{"image": b"x", "captions": [{"text": "a", "source": "web"}]}], "no image can be used: not_an_image"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load(write(tmp_path / "x.parquet", rows))


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ([12.0, 30.0, 200.0, 90.0], r"captions\.box has 12; left, top, right, bottom go from 0 to 1"),
        ([0.0, 0.0, float("nan"), 1.0], r"captions\.box has nan"),
        ("left", r"captions\.box is string, not a list of four numbers"),
    ],
)
def test_boxes_that_are_no_shares_are_named(tmp_path: Path, box: object, said: str) -> None:
    captions = [{"text": "a", "source": "web", "box": box}]
    with pytest.raises(InputError, match=said):
        load(write(tmp_path / "x.parquet", [{"image": picture(1), "captions": captions}]), column="regions")


def test_a_region_without_area_is_not_learned(tmp_path: Path) -> None:
    captions = [{"text": text, "source": "web", "box": box} for text, box in REGIONS.items()]
    pairs = load(write(tmp_path / "x.parquet", [{"image": picture(1), "captions": captions}]), column="regions")
    assert [said["text"] for said in pairs.words.to_pylist()] == ["left half", "all of it"]


def test_places_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        load(str(tmp_path / "nowhere"))
    (tmp_path / "x.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(InputError, match=r"x\.parquet"):
        load(str(tmp_path / "x.parquet"))


def test_images_alone_need_no_texts(tmp_path: Path) -> None:
    images = Path(__file__).parents[2] / "fixtures" / "run-0.1.0" / "complete" / "images"
    pairs = load(str(images), column="images")
    assert len(pairs) == sum(pq.read_metadata(file).num_rows for file in images.glob("*.parquet")) > 0
    assert len(set(pairs.keys.tolist())) == len(pairs)
    draw = next(iter(Sampler(pairs.texts, pairs.wrong_starts, Sampling(), 3, 0)))
    assert pairs.texts_of(draw) == ["", "", ""]
    plain = write(tmp_path / "plain.parquet", [{"image": picture(100)}, {"image": b"no image"}])
    pairs = load(plain, column="images")
    assert len(pairs) == 1
    assert sum(pairs.left_out.values()) == 1

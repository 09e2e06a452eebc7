"""Talks of a table of their own, joined to images by uid."""

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from capfilt.core.errors import InputError
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.training_data.pairs import TrainingPairs, Wanted, load_pairs
from capfilt.pipelines.training_data.talks import TALKS


def picture(level: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (20, 24), (level, level, level)).save(stream, "PNG")
    return stream.getvalue()


def images(path: Path, *uids: str | None, **more: Any) -> str:
    rows = [{"image": picture(10 * n), "uid": uid, **more} for n, uid in enumerate(uids)]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return str(path)


def talks(path: Path, *rows: tuple[str, list[tuple[str | None, str | None]]]) -> str:
    told = [
        {
            "uid": uid,
            "form": "detail",
            "turns": [{"question": question, "answer": answer} for question, answer in turns],
        }
        for uid, turns in rows
    ]
    pq.write_table(pa.Table.from_pylist(told, TALKS), path)
    return str(path)


def load(location: str, table: str = "") -> TrainingPairs:
    return load_pairs([location], Wanted(column="talks", talks=table, pixels=PixelSpec(16)))


def told(pairs: TrainingPairs) -> list[list[list[tuple[str, str]]]]:
    """By image its talks, each the questions with their answer."""
    words = [[(turn["question"], *turn["answers"]) for turn in talk] for talk in pairs.words.to_pylist()]
    starts = pairs.texts.starts.tolist()
    return [words[first:end] for first, end in pairwise(starts)]


def test_talks_are_joined_by_uid(tmp_path: Path) -> None:
    long = [("what is it?", "a cup"), ("where?", "on a table")]
    table = talks(tmp_path / "talks.parquet", ("b", long), ("z", long), ("a", [("1?", "1")]), ("b", [("2?", "2")]))
    pairs = load(images(tmp_path / "images.parquet", "a", "c", "b", None), table)
    assert told(pairs) == [[[("1?", "1")]], [long, [("2?", "2")]]]
    assert pairs.left_out == {"no talk of its uid (data.talks)": 2}


def test_a_talk_with_a_hole_is_left_out(tmp_path: Path) -> None:
    holes = [[("?", None)], [(None, "!")], [("?", "!"), ("?", "")], []]
    table = talks(tmp_path / "talks.parquet", ("a", [("?", "!")]), *(("a", turns) for turns in holes))
    assert told(load(images(tmp_path / "images.parquet", "a"), table)) == [[[("?", "!")]]]


def test_without_a_table_every_question_is_a_talk(tmp_path: Path) -> None:
    questions = [{"question": "how many?", "answers": ["two"]}, {"question": "no answer?", "answers": []}]
    pairs = load(images(tmp_path / "images.parquet", "a", "b", questions=questions))
    assert told(pairs) == [[[("how many?", "two")]]] * 2


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"uid": ["a"]}, "no column turns; there are uid"),
        ({"uid": ["a"], "turns": ["what?"]}, "turns is no list of question and answer"),
        ({"uid": ["z"], "turns": [[{"question": "?", "answer": "!"}]]}, "no talk of its uid"),
        ({"uid": ["a"], "turns": [[{"question": "?", "answer": ""}]]}, "no talk in it"),
    ],
)
def test_a_table_that_does_not_fit_is_one_line(tmp_path: Path, columns: dict[str, Any], said: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "talks.parquet")
    with pytest.raises(InputError, match=f"data.talks.*{said}|{said}.*data.talks") as caught:
        load(images(tmp_path / "images.parquet", "a"), str(tmp_path / "talks.parquet"))
    assert "\n" not in str(caught.value)


def test_images_without_uids_or_questions_are_named(tmp_path: Path) -> None:
    table = talks(tmp_path / "talks.parquet", ("a", [("?", "!")]))
    pq.write_table(pa.table({"image": [picture(1)]}), tmp_path / "plain.parquet")
    with pytest.raises(InputError, match="no column uid; there are image"):
        load(str(tmp_path / "plain.parquet"), table)
    with pytest.raises(InputError, match=r"no column questions \(or set data.talks\)"):
        load(str(tmp_path / "plain.parquet"))

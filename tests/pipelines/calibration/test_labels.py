"""Files of labeled pairs: what is read, and what is said of mistakes."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.errors import InputError
from capfilt.pipelines.calibration.labels import read_labels

UID = "00000000000000000000000000000012"


def test_all_kinds_of_files_say_the_same(tmp_path: Path) -> None:
    """A uid of digits alone stays what it is, in whatever file."""
    rows = [{"uid": UID, "candidate": 0, "label": True}, {"uid": "ab", "candidate": 3, "label": False}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text(f"uid,candidate,label\n{UID},0,right\nab,3,wrong\n")
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("a.parquet", "a.csv", "a.jsonl"):
        found = read_labels(str(tmp_path / name))
        assert [(one.uid, one.candidate, one.right) for one in found] == [(UID, 0, True), ("ab", 3, False)], name


@pytest.mark.parametrize(
    ("word", "right"), [("true", True), ("False", False), ("1", True), ("0", False), ("YES", True), (" wrong ", False)]
)
def test_words_for_right_and_wrong(tmp_path: Path, word: str, right: bool) -> None:
    (tmp_path / "a.csv").write_text(f"uid,text,label,note\nab,a dog,{word},x\ncd,a cat,no,y\n")
    assert [one.right for one in read_labels(str(tmp_path / "a.csv"))] == [right, False]


def test_pictures_come_as_bytes_as_structs_or_as_files(tmp_path: Path) -> None:
    (tmp_path / "dog.jpg").write_bytes(b"JPEG")
    (tmp_path / "a.csv").write_text("image,text,label\ndog.jpg,a dog,1\n")
    rows = [{"image": {"bytes": b"JPEG", "path": None}, "text": "a dog", "label": 1}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    one, two = (read_labels(str(tmp_path / name))[0] for name in ("a.csv", "a.parquet"))
    assert one.image == two.image == b"JPEG"
    assert one.key == two.key


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("a.csv", "uid,candidate\nab,0\n", "needs label"),
        ("a.csv", "label,text\n1,a dog\n", "needs label"),
        ("a.csv", "uid,candidate,label\nab,0,perhaps\n", "row 1: label 'perhaps'"),
        ("a.csv", "uid,candidate,label\nab,0,1\ncd,,1\n", "row 2: names no text"),
        ("a.csv", "image,text,label\nnot-there.jpg,a dog,1\n", "row 1: image 'not-there.jpg'"),
        ("a.csv", "", "a.csv"),
        ("a.parquet", "no parquet", "a.parquet"),
        ("a.jsonl", "{", "a.jsonl"),
        ("a.txt", "x", "a .parquet, .csv or .jsonl file"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, name: str, text: str, wanted: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        read_labels(str(tmp_path / name))
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read_labels(str(tmp_path / "nowhere.csv"))

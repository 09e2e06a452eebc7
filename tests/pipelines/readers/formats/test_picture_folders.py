"""Folders of pictures, with and without metadata."""

import json
import os
from pathlib import Path

import pytest

from capfilt.core.config import InputSettings
from capfilt.pipelines.plan import make_plan
from reading import picture, read_all, texts


def test_every_picture_is_a_row(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "deep" / ".hidden").mkdir(parents=True)
    files = {"b.png": picture(1), "a": picture(0), "notes.md": b"# words", "deep/c.JPG": b"", ".secret.png": b"x"}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "deep" / ".hidden" / "d.png").write_bytes(picture(3))
    (folder / "b.txt").write_text("a bee\n")
    (folder / "b.json").write_text('{"captions": ["a bee", "an insect"]}')
    rows = read_all(folder, chunk_rows=3)
    assert [row["source"] for row in rows] == ["photos#a", "photos#b.png", "photos#deep/c.JPG"]
    assert [row["image"] for row in rows] == [picture(0), picture(1), b""]
    assert texts(rows) == [[], ["a bee", "an insect"], []]
    assert make_plan([str(folder)], InputSettings()).notes == (
        f"{folder}: 1 left out, no known kind of input: notes.md",
    )


@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_metadata_names_pictures_and_the_rest_have_no_text(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    (folder / "train").mkdir(parents=True)
    for number in range(4):
        (folder / "train" / f"{number}.png").write_bytes(picture(number))
    (folder / "train" / "3.txt").write_text("three")
    (folder / "train" / "README.md").write_text("words")
    named = [("0.png", "zero"), ("2.png", "two"), ("9.png", "nine")]
    lines = [json.dumps({"file_name": name, "text": text}) for name, text in named]
    table = ["file_name,text", *(",".join(pair) for pair in named)]
    (folder / "train" / f"metadata.{kind}").write_text("\n".join(lines if kind == "jsonl" else table) + "\n")
    rows = read_all(folder)
    assert [row["source"] for row in rows] == [
        "set#train/1.png",
        "set#train/3.png",
        *(f"set/train/metadata.{kind}#{number}" for number in range(3)),
    ]
    assert [row["image"] for row in rows] == [picture(1), picture(3), picture(0), picture(2), None]
    assert texts(rows) == [[], ["three"], ["zero"], ["two"], ["nine"]]
    assert rows[4]["reason"] == "missing_file"


def test_metadata_in_a_linked_folder_counts_no_picture_twice(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "0.png").write_bytes(picture(0))
    (real / "metadata.jsonl").write_text('{"file_name": "0.png", "text": "zero"}\n')
    (tmp_path / "link").symlink_to(real)
    assert len(read_all(tmp_path / "link")) == 1


def test_odd_entries_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "0.png").write_bytes(picture(0))
    (folder / "sub" / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe")
    (folder / "huge.png").touch()
    os.truncate(folder / "huge.png", 300_000_000)
    Path(os.fsdecode(bytes(folder) + b"/caf\xe9.png")).write_bytes(picture(1))
    reasons = {row["source"]: row["reason"] for row in read_all(folder)}
    assert reasons == {
        "odd#caf\\\\xe9.png": "missing_file",  # an escape of the listing, and of its backslash
        "odd#huge.png": "too_large",
        "odd#sub/0.png": None,
    }


def test_pictures_by_name_have_the_uid_they_have_in_their_folder(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.png").write_bytes(picture(number))
        (folder / f"{number}.txt").write_text(f"text {number}")
    whole = read_all(folder)
    assert read_all(folder / "*.png", folder / "*.txt") == whole
    assert [row["uid"] for row in read_all(folder / "*.png")] == [row["uid"] for row in whole]
    assert read_all(*sorted(folder.iterdir())) == whole
    assert read_all(folder, folder / "*.png", folder / "0.png") == whole
    assert read_all(folder, text="none") == [row | {"texts": []} for row in whole]

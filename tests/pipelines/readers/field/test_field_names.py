"""Names that differ a little between a list or a text and the disk: each finds its own picture, and no other."""

import json
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.config import InputSettings
from capfilt.pipelines.plan import make_plan
from reading import picture, read_all, texts, write_tar

COUNT = 3


def said(folder: Path) -> dict[int, list[str]]:
    """The texts of each picture by its number; a picture that comes twice is an error."""
    rows = read_all(folder)
    assert all(row["reason"] is None for row in rows), rows
    numbers = {picture(n): n for n in range(20)}
    found = {numbers[row["image"]]: own for row, own in zip(rows, texts(rows), strict=True)}
    assert len(found) == len(rows)
    return found


def put(folder: Path, names: list[str]) -> None:
    """One picture a name, in order."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))


def names(pattern: str) -> list[str]:
    return [pattern.format(n) for n in range(COUNT)]


@pytest.mark.parametrize(
    ("listed", "stored"),
    [
        ("images\\{}.jpg", "images/{}.jpg"),
        (".\\images\\{}.jpg", "images/{}.jpg"),
        ("C:\\data\\images\\{}.jpg", "images/{}.jpg"),
        ("D:\\IMG_{}.jpg", "raw/img_{}.jpg"),
        ("my%20pictures/{}.jpg", "my pictures/{}.jpg"),
        ("my%20pictures/{}.jpg", "my%20pictures/{}.jpg"),
        ("file:///old/disk/images/{}.jpg", "images/{}.jpg"),
        (unicodedata.normalize("NFC", "é{}.jpg"), unicodedata.normalize("NFD", "é{}.jpg")),
        (unicodedata.normalize("NFD", "é{}.jpg"), unicodedata.normalize("NFC", "é{}.jpg")),
        ("{}.jpg", "{}.JPG"),
        ("{}.jpeg", "train/{}.jpg"),
        ("IMG_{}.JPG", "img_{}.jpg"),
        ("0000{}", "val2017/0000{}.jpg"),
        ("v1.{}", "v1.{}.png"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "json", "parquet"])
def test_a_reference_in_another_spelling_finds_its_file(suffix: str, listed: str, stored: str, tmp_path: Path) -> None:
    put(tmp_path, names(stored))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "nobody.jpg").write_bytes(picture(9))
    rows = [{"image": name, "text": f"text {n}"} for n, name in enumerate(names(listed))]
    if suffix == "csv":
        lines = ["image,text", *(f"{row['image']},{row['text']}" for row in rows)]
        (tmp_path / "list.csv").write_text("\n".join(lines))
    elif suffix == "json":
        (tmp_path / "list.json").write_text(json.dumps(rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "list.parquet")
    assert said(tmp_path) == {**{n: [f"text {n}"] for n in range(COUNT)}, 9: []}


def test_a_suffix_of_another_format_is_no_spelling(tmp_path: Path) -> None:
    put(tmp_path, names("masks/{}.png"))
    (tmp_path / "list.csv").write_text("image,text\n" + "".join(f"images/{n}.jpg,text {n}\n" for n in range(COUNT)))
    rows = read_all(tmp_path)
    assert [row["reason"] for row in rows if row["texts"]] == ["missing_file"] * COUNT


@pytest.mark.parametrize("place", ["list.csv", "annotations/list.csv", "VG_100K/list.csv"])
def test_a_list_finds_its_pictures_in_several_folders(place: str, tmp_path: Path) -> None:
    put(tmp_path, ["VG_100K_2/0.jpg", "VG_100K_2/1.jpg", "more/2.jpg", "more/3.jpg"])
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("image,text\n" + "".join(f"{n}.jpg,text {n}\n" for n in range(4)))
    assert said(tmp_path) == {n: [f"text {n}"] for n in range(4)}


def test_visual_genome_has_two_folders(tmp_path: Path) -> None:
    put(tmp_path, ["VG_100K/0.jpg", "VG_100K/1.jpg", "VG_100K_2/2.jpg"])
    document = [{"id": n, "regions": [{"image_id": n, "phrase": f"text {n}"}]} for n in range(3)]
    (tmp_path / "region_descriptions.json").write_text(json.dumps(document))
    assert said(tmp_path) == {n: [f"text {n}"] for n in range(3)}


def test_folders_that_share_a_name_are_not_guessed_between(tmp_path: Path) -> None:
    put(tmp_path, ["train/0.jpg", "test/1.jpg", "train/2.jpg", "test/2.jpg"])
    (tmp_path / "list.csv").write_text("image,text\n0.jpg,zero\n1.jpg,one\n")
    rows = read_all(tmp_path)
    assert [row["reason"] for row in rows if row["texts"]] == ["missing_file"] * 2


@pytest.mark.parametrize(
    ("stored", "text", "content"),
    [
        ("{}.jpg", "{}.jpg.txt", "text {}"),
        ("{}.jpg", "{}.jpg.json", '{{"title": "text {}", "url": "https://photos.example/page"}}'),
        ("{}", "{}.txt", "text {}"),
        (unicodedata.normalize("NFD", "é{}.jpg"), unicodedata.normalize("NFC", "é{}.txt"), "text {}"),
        ("{}.jpg", "{}.CAPTION", "text {}"),
    ],
)
def test_a_text_beside_a_picture_belongs_to_it(stored: str, text: str, content: str, tmp_path: Path) -> None:
    put(tmp_path, names(stored))
    for number, name in enumerate(names(text)):
        (tmp_path / name).write_text(content.format(number))
    assert said(tmp_path) == {n: [f"text {n}"] for n in range(COUNT)}


def test_a_text_of_a_stem_is_no_text_of_a_longer_name(tmp_path: Path) -> None:
    put(tmp_path, ["a.jpg", "a.jpg.png", "b.jpg"])
    (tmp_path / "a.jpg.txt").write_text("of the png")
    (tmp_path / "a.txt").write_text("of the jpg")
    assert said(tmp_path) == {0: ["of the jpg"], 1: ["of the png"], 2: []}


def test_paths_in_image_structs_are_not_read_twice(tmp_path: Path) -> None:
    put(tmp_path, names("{}.png"))
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    images = pa.array([{"bytes": None, "path": name} for name in names("{}.png")], kind)
    pq.write_table(pa.table({"image": images, "text": [f"text {n}" for n in range(COUNT)]}), tmp_path / "a.parquet")
    assert said(tmp_path) == {n: [f"text {n}"] for n in range(COUNT)}


def test_the_split_files_of_a_data_set_add_no_pictures(tmp_path: Path) -> None:
    put(tmp_path, names("Images/{}.jpg"))
    (tmp_path / "Flickr8k.token.txt").write_text("".join(f"{n}.jpg#0\ttext {n}\n" for n in range(COUNT)))
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("0.jpg\n1.jpg\n")
    (tmp_path / "Flickr_8k.testImages.txt").write_text("2.jpg\n")
    assert said(tmp_path) == {n: [f"text {n}"] for n in range(COUNT)}
    (note,) = make_plan([str(tmp_path)], InputSettings()).notes
    assert "names pictures that another list names, without texts" in note


def test_ids_name_pictures_when_the_column_is_named(tmp_path: Path) -> None:
    put(tmp_path, names("val2017/{:04}.jpg"))
    rows = [{"image_id": f"{n:04}", "caption": f"text {n}"} for n in range(COUNT)]
    (tmp_path / "narratives.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (note,) = make_plan([str(tmp_path)], InputSettings()).notes
    assert "give input.url" in note
    assert texts(read_all(tmp_path, url="image_id")) == [[f"text {n}"] for n in range(COUNT)]


def test_a_table_inside_a_shard_is_said_not_to_be_read(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("metadata.csv", b"file_name,text\n0.png,zero\n"), ("0.png", picture(0))])
    failed, good = sorted(read_all(tmp_path), key=lambda row: row["reason"] is None)
    assert (good["reason"], good["image"]) == (None, picture(0))
    assert failed["detail"] == "no image in the sample, only .csv; a table in a shard is not read"

"""Public data sets as they are published, and tables as programs and people write them: every text on its own URL."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.config import InputSettings
from capfilt.core.errors import ConfigError
from capfilt.pipelines.plan import make_plan
from reading import picture, read_all, texts

NUMBERS = range(3)


def url(number: int) -> str:
    return f"http://h.example/{number}.jpg"


def text(number: int) -> str:
    return f"a cat, number {number}"


def lines(pattern: str, head: str = "") -> str:
    """One line a row; `U` and `T` stand for URL and text, `N` for the number."""
    rows = (pattern.replace("U", url(n)).replace("T", text(n)).replace("N", str(n)) for n in NUMBERS)
    return head + "".join(row + "\n" for row in rows)


def objects(**fields: Any) -> list[dict[str, Any]]:
    """One object a row, with the same signs in its values."""
    return [json.loads(line) for line in lines(json.dumps(fields)).splitlines()]


def check(folder: Path) -> None:
    rows = read_all(folder)
    assert [(row["url"], row["reason"]) for row in rows] == [(url(n), None) for n in NUMBERS]
    assert texts(rows) == [[text(n)] for n in NUMBERS]


WIT = "language\tpage_url\timage_url\tpage_title\tcaption_reference_description\tis_main_image\n"
OPEN_IMAGES = "ImageID,Subset,OriginalURL,OriginalLandingURL,License,Author,Title,OriginalMD5,Thumbnail300KURL\n"
UNSPLASH = "photo_id\tphoto_url\tphoto_image_url\tphoto_width\tphotographer_username\tphoto_description\n"

TABLES = {
    "Train_GCC-training.tsv": lines("T\tU"),
    "cc12m.tsv": lines("U\tT"),
    "wit.tsv": lines("en\thttp://w/pN\tU\tTitle\tT\ttrue", WIT),
    "image_ids_and_rotation.csv": lines(
        '00N,train,U,https://f/pN,https://cc,Bob,"T",ab==,https://t/N_z.jpg', OPEN_IMAGES
    ),
    "photos.tsv": lines("idN\thttps://u/photos/N\tU\t100\tjon\tT", UNSPLASH),
    "commas_at_the_end.csv": lines('U,"T",', "url,caption,\n"),
    "commas_at_the_end_of_rows.csv": lines('U,"T",', "url,caption\n"),
    "blanks.csv": lines('U, "T"', "url, caption\n"),
    "single_quotes.csv": lines("'U','T'", "url,caption\n"),
    "index.csv": lines('N,U,"T"', ",url,caption\n"),
    "page.csv": lines('http://page/N,U,"T"', "url,image_url,caption\n"),
    "named_csv.tsv": lines('U,"T"', "url,caption\n"),
    "objects.csv": lines('{"url": "U", "caption": "T"}'),
    "objects.txt": lines('{"url": "U", "caption": "T"}'),
    "commas.jsonl": lines('{"url": "U", "caption": "T"},'),
    "pretty.jsonl": lines('{\n"url": "U",\n"caption": "T"\n}'),
    "pretty.json": lines('{\n"url": "U",\n"caption": "T"\n}'),
    "array.jsonl": json.dumps(objects(url="U", caption="T")),
    "array.txt": json.dumps(objects(url="U", caption="T"), indent=1),
}
DOCUMENTS = {
    "TextCaps": {
        "dataset_type": "train",
        "data": objects(image_path="train/N.jpg", flickr_original_url="x", url="U", caption_str="T"),
    },
    "nocaps": {
        "images": objects(id="N", coco_url="U", file_name="N.jpg"),
        "annotations": objects(image_id="N", caption="T"),
    },
    "ids of two types": {
        "images": objects(id="N", url="U"),
        "annotations": [{"image_id": n, "caption": text(n)} for n in NUMBERS],
    },
    "annotations with a text": {"images": objects(id="N", url="U"), "annotations": objects(image_id="N", text="T")},
    "RedCaps": {
        "info": {"url": "https://redcaps.example"},
        "annotations": objects(image_url="U", raw_caption="no", caption="T"),
    },
}
COLUMNS: dict[str, dict[str, pa.Array]] = {
    "LAION": {"URL": pa.array(map(url, NUMBERS)), "TEXT": pa.array(map(text, NUMBERS)), "hash": pa.array(NUMBERS)},
    "DataComp": {
        "uid": pa.array(["a"] * 3),
        "url": pa.array(map(url, NUMBERS)),
        "text": pa.array(map(text, NUMBERS)),
        "face_bboxes": pa.array([[[0.1, 0.2]]] * 3),
        "sha256": pa.array(["x" * 64] * 3),
    },
    "COYO": {"id": pa.array(NUMBERS), "url": pa.array(map(url, NUMBERS)), "text": pa.array(map(text, NUMBERS)),
             "image_phash": pa.array(["ff"] * 3)},
    "OBELICS with one image": {"images": pa.array([[url(n), None] for n in NUMBERS]),
                               "texts": pa.array([[None, text(n)] for n in NUMBERS])},
    "dictionaries": {"url": pa.array(map(url, NUMBERS)).dictionary_encode(),
                     "caption": pa.array(map(text, NUMBERS), pa.large_string()).dictionary_encode()},
    "bytes": {"url": pa.array([url(n).encode() for n in NUMBERS]),
              "caption": pa.array([text(n).encode() for n in NUMBERS], pa.large_binary())},
    "lists": {"url": pa.array(map(url, NUMBERS)),
              "captions": pa.array([[text(n)] for n in NUMBERS], pa.large_list(pa.large_string()))},
    "structs": {"url": pa.array(map(url, NUMBERS)),
                "caption": pa.array([{"en": text(n), "lang": "en"} for n in NUMBERS])},
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_table_or_list_is_read_as_it_was_meant(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(TABLES[name])
    check(tmp_path)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_is_read_as_it_was_meant(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(DOCUMENTS[name]))
    check(tmp_path)


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("file", ["a.parquet", "named.json", "named.csv"])
def test_columns_of_every_type_are_read(file: str, name: str, tmp_path: Path) -> None:
    pq.write_table(pa.table(COLUMNS[name]), tmp_path / file)
    check(tmp_path)


def test_a_whole_download_of_coco_gives_its_captions(tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    (tmp_path / "val2017").mkdir()
    for number in NUMBERS:
        (tmp_path / "val2017" / f"{number}.jpg").write_bytes(picture(number))
    images = [{"id": n, "file_name": f"{n}.jpg", "coco_url": url(n)} for n in NUMBERS]
    notes = {
        "captions": [{"image_id": n, "caption": text(n)} for n in NUMBERS],
        "instances": [{"image_id": n, "bbox": [1, 2, 3, 4], "category_id": 3} for n in NUMBERS],
        "person_keypoints": [{"image_id": n, "keypoints": [1, 2, 2]} for n in NUMBERS],
    }
    for name, annotations in notes.items():
        document = {"images": images, "annotations": annotations, "categories": [{"id": 3, "name": "cat"}]}
        (tmp_path / "annotations" / f"{name}_val2017.json").write_text(json.dumps(document))
    rows = read_all(tmp_path)
    assert [row["image"] for row in rows] == [picture(n) for n in NUMBERS]
    assert texts(rows) == [[text(n)] for n in NUMBERS]
    (note,) = make_plan([str(tmp_path)], InputSettings()).notes
    assert "2 left out, no list of images (annotations without captions" in note


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("mac.csv", lines('U,"T"', "url,caption\n").replace("\n", "\r"), "carriage return"),
        ("two.csv", lines("U,U?small,x", "full,thumbnail,caption\n"), r"input\.url, one of: full, thumbnail"),
        ("recap.csv", lines("U,x,y", "url,re_caption,org_caption\n"), r"input\.text .*re_caption, org_caption"),
        ("words.txt", lines("U a cat"), r"input\.delimiter"),
        ("story.json", json.dumps({"images": [{"id": 1}], "annotations": [[{"text": "a"}]]}), "no shape"),
    ],
)
def test_what_cannot_be_told_is_one_line_that_names_the_setting(
    name: str, content: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=said):
        make_plan([str(tmp_path / name)], InputSettings())


def test_a_url_without_a_scheme_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("url,caption\n//h.example/0.jpg,a\n")
    (row,) = read_all(tmp_path)
    assert (row["url"], row["reason"]) == ("//h.example/0.jpg", None)

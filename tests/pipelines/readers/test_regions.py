"""A text about a part of its image keeps the box that the data gives, in every way in which data sets write one."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.pipelines.readers.documents.reader import SHAPES
from capfilt.pipelines.readers.rows.columns import Record, find_texts
from capfilt.pipelines.readers.rows.reader import Row, raw_table
from reading import picture, read_all, write_tar

WHOLE, CAT = "a cat on a mat", "a cat"
PIXELS, SHARES = [2.0, 1.0, 6.0, 5.0], [0.25, 0.125, 0.75, 0.625]
GROUNDED = {"file_name": "0.png", "caption": WHOLE, "ref_exps": [[0.0, 5.0, *SHARES, 0.9]]}
DOCUMENTS: dict[str, Any] = {
    "visual genome": [
        {
            "id": 0,
            "file_name": "0.png",
            "regions": [{"phrase": CAT, "x": 2, "y": 1, "width": 4, "height": 4}, {"phrase": WHOLE}],
        }
    ],
    "visual genome with sizes": [
        {
            "id": 0,
            "file_name": "0.png",
            "width": 800,
            "height": 400,
            "regions": [{"phrase": CAT, "x": 2, "y": 1, "width": 4, "height": 4}],
        }
    ],
    "coco": {
        "images": [{"id": 7, "file_name": "0.png", "width": 8, "height": 8}],
        "annotations": [
            {"image_id": 7, "caption": CAT, "bbox": [2, 1, 4, 4]},
            {"image_id": 7, "caption": WHOLE},
        ],
    },
    "grit": [GROUNDED],
    "corpus": [{"file_name": "0.png", "captions": [{"text": CAT, "box": SHARES}, {"text": WHOLE, "box": None}]}],
    "one a line": [{"file_name": "0.png", "caption": CAT, "bbox": [2, 1, 4, 4], "width": 8, "height": 8}],
}
WANTED = {
    "visual genome": [(CAT, PIXELS, None), (WHOLE, None, None)],
    "visual genome with sizes": [(CAT, PIXELS, [800.0, 400.0])],
    "coco": [(CAT, PIXELS, [8.0, 8.0]), (WHOLE, None, None)],
    "grit": [(WHOLE, None, None), (CAT, SHARES, [1.0, 1.0])],
    "corpus": [(CAT, SHARES, [1.0, 1.0]), (WHOLE, None, None)],
    "one a line": [(CAT, PIXELS, [8.0, 8.0])],
}


Given = list[tuple[str, list[float] | None, list[float] | None]]


def given(folder: Path) -> Given:
    (row,) = read_all(folder)
    assert row["image"] == picture(0)
    return [(text["text"], text["box"], text["frame"]) for text in row["texts"]]


def found(record: Record) -> Given:
    (row,) = raw_table([Row("0", texts=find_texts(record, "auto"))]).to_pylist()
    return [(text["text"], text["box"], text["frame"]) for text in row["texts"]]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_region_keeps_its_box(name: str) -> None:
    document = DOCUMENTS[name]
    shape = next((shape for shape in SHAPES if shape.fits(document)), None)
    (record,) = shape.records(document) if shape else document  # a list of rows is read by another reader
    assert found(record) == WANTED[name]


def test_a_region_of_a_document_travels_in_the_plan(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(picture(0))
    (tmp_path / "list.json").write_text(json.dumps(DOCUMENTS["visual genome"]))
    assert given(tmp_path) == WANTED["visual genome"]


@pytest.mark.parametrize("name", ["grit", "one a line"])
def test_a_region_of_a_table_keeps_its_box(name: str, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(picture(0))
    pq.write_table(pa.Table.from_pylist(DOCUMENTS[name]), tmp_path / "list.parquet")
    assert given(tmp_path) == WANTED[name]


def test_a_region_of_a_shard_keeps_its_box(tmp_path: Path) -> None:
    fact = {name: value for name, value in GROUNDED.items() if name != "file_name"}
    members = [("0.png", picture(0)), ("0.txt", WHOLE.encode()), ("0.json", json.dumps(fact).encode())]
    write_tar(tmp_path / "0.tar", members)
    assert given(tmp_path) == WANTED["grit"]


def test_the_same_words_about_two_regions_are_two_texts() -> None:
    boxes = [[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0]]
    texts = found({"captions": [{"text": CAT, "box": box} for box in boxes]})
    assert [box for _, box, _ in texts] == boxes[:2]


@pytest.mark.parametrize(
    "box", [[1, 2, 3], [0, 0, "x", 1], [0, 0, 1e300, 1], [0, 0, 10**400, 1], [0, 0, 640, 480], {"x": 1}]
)
def test_what_is_no_box_is_no_whole_image_either(box: object) -> None:
    assert found({"captions": [{"text": CAT, "box": box}]}) == [(CAT, [], [1.0, 1.0])]


@pytest.mark.parametrize("box", ["large", "7", 7, True, [], None])
def test_words_and_single_numbers_are_no_box(box: object) -> None:
    assert found({"captions": [{"text": CAT, "box": box}]}) == [(CAT, None, None)]
    assert found({"caption": CAT, "box": box}) == [(CAT, None, None)]


@pytest.mark.parametrize("box", [[2, 1, 4, float("nan")], [2, 1, 4, 10**400]])
def test_four_numbers_of_a_record_that_are_no_box_are_no_whole_image_either(box: object) -> None:
    assert found({"caption": CAT, "bbox": box}) == [(CAT, [], None)]


@pytest.mark.parametrize("boxes", [[], [[1, 2, 3, 4]], [[1, 2, 3, 4], [5, 6, 7, 8]], None, "1,2,3,4"])
def test_a_list_of_boxes_belongs_to_no_text(boxes: object) -> None:
    assert found({"caption": WHOLE, "bbox": boxes}) == [(WHOLE, None, None)]


@pytest.mark.parametrize("box", ["[2, 1, 4, 4]", "(2.0, 1.0, 4.0, 4.0)", "[2. 1. 4. 4.]"])
def test_a_cell_of_a_csv_spells_a_box_and_the_size_of_its_image(box: str) -> None:
    spelled = {"caption": CAT, "bbox": box, "width": "8", "height": "8"}
    assert found(spelled) == [(CAT, PIXELS, [8.0, 8.0])]
    assert found(GROUNDED | {"ref_exps": str(GROUNDED["ref_exps"])}) == WANTED["grit"]


def test_pixels_are_of_the_image_before_a_downloader_resized_it() -> None:
    sizes = {"width": 4, "height": 4, "original_width": 8, "original_height": 8}
    assert found({"caption": CAT, "bbox": [2, 1, 4, 4]} | sizes) == [(CAT, PIXELS, [8.0, 8.0])]


@pytest.mark.parametrize("ends", [(-5, 99), (0, 99), (5, 2)])
def test_places_outside_of_a_caption_are_no_phrase(ends: tuple[int, int]) -> None:
    assert found(GROUNDED | {"ref_exps": [[*ends, *SHARES]]}) == WANTED["grit"][:1]

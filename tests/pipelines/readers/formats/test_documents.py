"""JSON documents that hold many rows: every shape, at any size, packed or not, forgotten or not."""

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from capfilt.core.config import InputSettings
from capfilt.core.errors import ConfigError
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.readers import redacted
from capfilt.pipelines.readers.documents.reader import SHAPES
from capfilt.pipelines.readers.documents.shape import DocumentShape
from capfilt.pipelines.stages.read import read
from reading import picture, read_all, texts

COUNT = 5


def frame() -> "pd.DataFrame":
    urls = [f"http://h/{i}.jpg" for i in range(COUNT)]
    return pd.DataFrame({"url": urls, "caption": [f"text {i}" for i in range(COUNT)], "n": range(COUNT)})


def coco() -> Any:
    images = [{"id": 100 + i, "coco_url": f"http://h/{i}.jpg", "license": 1} for i in range(COUNT)]
    notes = [{"image_id": 100 + i, "id": i, "caption": f"text {i}"} for i in reversed(range(COUNT))]
    return {
        "info": {"year": 2017},
        "licenses": [{"id": 1, "url": "http://h/l"}],
        "images": images,
        "annotations": notes,
    }


def pairs() -> list[tuple[str, str]]:
    return [(f"http://h/{i}.jpg", f"text {i}") for i in range(COUNT)]


DOCUMENTS = {
    "COCO": coco(),
    "Karpathy": {
        "images": [{"url": url, "split": "train", "sentences": [{"raw": text}]} for url, text in pairs()],
        "dataset": "coco",
    },
    "RedCaps": {
        "info": {"start": "2020"},
        "annotations": [{"image_id": "x", "url": url, "raw_caption": text, "caption": text} for url, text in pairs()],
    },
    "SBU": {
        "image_urls": [url for url, _ in pairs()],
        "user_ids": [str(i) for i in range(COUNT)],
        "captions": [text for _, text in pairs()],
    },
    "datasets server": {"rows": [{"row_idx": 0, "row": {"url": url, "text": text}} for url, text in pairs()]},
    "captions by file": {url: text for url, text in pairs()},
    "lists by file": {url: [text] for url, text in pairs()},
    "objects by file": {url: {"caption": text, "split": "train"} for url, text in pairs()},
    "Visual Genome": [{"id": i, "url": url, "regions": [{"phrase": text}]} for i, (url, text) in enumerate(pairs())],
    **{
        f"pandas {orient}": json.loads(frame().to_json(orient=orient))
        for orient in ("columns", "split", "index", "table", "records")
    },
    "pandas values": json.loads(frame()[["url", "caption"]].to_json(orient="values")),
    "pandas list": frame().to_dict(orient="list"),
}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_shape_gives_its_rows(name: str, indent: int | None, tmp_path: Path) -> None:
    content = json.dumps(DOCUMENTS[name], indent=indent).encode()
    (tmp_path / "a.json").write_bytes(content)
    (tmp_path / "b.json.gz").write_bytes(gzip.compress(content))
    for file in ("a.json", "b.json.gz"):
        rows = read_all(tmp_path / file, chunk_rows=2)
        assert [row["url"] for row in rows] == [url for url, _ in pairs()]
        assert texts(rows) == [[text] for _, text in pairs()]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: type(shape).__name__)
def test_a_shape_reads_its_own_example_and_no_other_shape_takes_it(shape: DocumentShape) -> None:
    assert next(one for one in SHAPES if one.fits(shape.example)) is shape
    assert list(shape.records(shape.example))
    assert shape.about


@pytest.mark.parametrize(
    "document", [{}, [], {"a": 1}, {"count": 3, "status": {"ok": 3}}, 7, "x", None, [1, 2], {"a": []}]
)
def test_another_document_is_left_out_with_the_reason(document: object, tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(picture(0))
    (tmp_path / "settings.json").write_text(json.dumps(document, indent=1))
    assert len(read_all(tmp_path)) == 1
    if document != []:
        (note,) = make_plan([str(tmp_path)], InputSettings()).notes
        assert "settings.json" in note


def test_coco_with_its_pictures_in_another_folder(tmp_path: Path) -> None:
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    (tmp_path / "coco" / "val2017").mkdir()
    document = coco()
    for i, image in enumerate(document["images"]):
        image["file_name"] = f"{i:012d}.png"
        (tmp_path / "coco" / "val2017" / image["file_name"]).write_bytes(picture(i))
    document["annotations"] += [{"image_id": 100, "caption": "again"}, {"image_id": 999, "caption": "of no image"}]
    (tmp_path / "coco" / "annotations" / "captions_val2017.json").write_text(json.dumps(document))
    rows = read_all(tmp_path / "coco")
    assert [row["image"] for row in rows] == [*(picture(i) for i in range(COUNT)), None]
    assert texts(rows)[0] == ["text 0", "again"]
    assert (rows[-1]["reason"], texts(rows)[-1]) == ("no_image", ["of no image"])


@pytest.mark.slow
def test_a_document_of_megabytes_in_one_line(tmp_path: Path) -> None:
    document = {f"http://h/{i}.jpg": [f"a long caption, number {i}"] for i in range(40_000)}
    (tmp_path / "captions.json").write_text(json.dumps(document))
    assert (tmp_path / "captions.json").stat().st_size > 1_500_000
    assert len(read_all(tmp_path / "captions.json", chunk_rows=5000)) == 40_000


def test_columns_of_a_document_can_be_named(tmp_path: Path) -> None:
    rows = [{"url": "http://h/0", "raw_caption": "Raw", "caption": "clean"}]
    (tmp_path / "a.json").write_text(json.dumps({"annotations": rows}))
    assert texts(read_all(tmp_path / "a.json", text="raw_caption")) == [["Raw"]]
    with pytest.raises(ConfigError, match=r"input\.text = 'alt' .* url, raw_caption, caption"):
        read_all(tmp_path / "a.json", text="alt")


def test_forget_takes_urls_and_texts_out_of_the_plan(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(DOCUMENTS["SBU"]))
    (chunk,) = make_plan([str(tmp_path / "a.json")], InputSettings()).chunks
    (part,) = chunk.parts
    clean = redacted(part, lambda source: source == "a.json#3")
    assert "text 3" in part.to_json()
    assert "text 3" not in clean.to_json()
    assert "3.jpg" not in clean.to_json()
    rows = read(type(chunk)(chunk.name, (clean,))).to_pylist()
    assert [row["reason"] for row in rows] == [None, None, None, "forgotten", None]

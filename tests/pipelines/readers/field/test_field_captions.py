"""Shapes of captions and of references: lists, objects, dialogues, numbered columns, base64, paths that are none."""

import base64
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from capfilt.core.errors import ConfigError
from reading import picture, read_all, texts, write_tar

SHAPES = {
    "list of objects": ("captions", [{"caption": "a barn", "id": 0}, {"caption": "a red barn", "id": 1}]),
    "objects with raw": ("sentences", [{"raw": "a barn", "tokens": ["a", "barn"]}, {"raw": "a red barn"}]),
    "JSON in a string": ("captions", '["a barn", "a red barn"]'),
    "Python in a string": ("raw", "['a barn', \"a red barn\"]"),
    "NumPy in a string": ("captions", "['a barn'\n 'a red barn']"),
    "LLaVA": (
        "conversations",
        [
            {"from": "human", "value": "<image>\nWhat is seen?"},
            {"from": "gpt", "value": "a barn"},
            {"from": "human", "value": "More?"},
            {"from": "gpt", "value": "a red barn"},
        ],
    ),
    "OpenAI messages": (
        "messages",
        [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is seen?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "a barn"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "a red barn"}]},
        ],
    ),
    "by language": ("text", {"en": "a barn", "pt-BR": "a red barn"}),
    "Data-Juicer": ("text", ["<__dj__image> a barn <|__dj__eoc|>", "<image>\na red barn"]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_caption_of_a_shape_is_a_text(shape: str, tmp_path: Path) -> None:
    name, value = SHAPES[shape]
    (tmp_path / "a.jsonl").write_text(json.dumps({"url": "http://h/0", name: value}) + "\n")
    (tmp_path / "b.json").write_text(json.dumps([{"id": "0", "image": "http://h/0", name: value}], indent=1))
    pq.write_table(pa.table({"url": ["http://h/0"], name: [value]}), tmp_path / "c.parquet")
    for file in ("a.jsonl", "b.json", "c.parquet"):
        assert texts(read_all(tmp_path / file)) == [["a barn", "a red barn"]]


@pytest.mark.parametrize("text", ["[music] a band plays", "[1]", "{not json}", "(a) or [b]", '["open', "[sic]"])
def test_a_caption_in_brackets_is_a_caption(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"url": "http://h/0", "text": text}) + "\n")
    assert texts(read_all(tmp_path / "a.jsonl")) == [[text]]


def test_a_text_beside_a_picture_may_hold_json(tmp_path: Path) -> None:
    scene = {"scene": "a barn by a pond", "subjects": [{"description": "a thing"}]}
    contents = [json.dumps(scene), json.dumps({"caption": "a barn"}), json.dumps(["a barn", "a pond"]), "a barn"]
    for i, content in enumerate(contents):
        (tmp_path / f"{i}.png").write_bytes(picture(i))
        (tmp_path / f"{i}.txt").write_text(content)
    assert texts(read_all(tmp_path)) == [["a barn by a pond"], ["a barn"], ["a barn", "a pond"], ["a barn"]]


def test_metadata_beside_a_picture_is_no_caption(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(picture(0))
    (tmp_path / "0.json").write_text('{"license": "CC BY 4.0", "id": 3}')
    assert texts(read_all(tmp_path)) == [[]]


def test_numbered_columns_are_all_taken(tmp_path: Path) -> None:
    header = "file_name,split,caption_0,caption_1,caption_2\n"
    (tmp_path / "a.csv").write_text(header + "http://h/0.jpg,train,one,two,three\n")
    pq.write_table(pa.table({"url": ["http://h/0"], "text1": ["one"], "text2": ["two"]}), tmp_path / "b.parquet")
    assert texts(read_all(tmp_path / "a.csv")) == [["one", "two", "three"]]
    assert texts(read_all(tmp_path / "b.parquet")) == [["one", "two"]]


def test_several_columns_can_be_named(tmp_path: Path) -> None:
    record = {"url": "http://h/0", "short": "one", "long_a": "two", "long_b": "three", "other": "no"}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    (tmp_path / "b.csv").write_text(",".join(record) + "\n" + ",".join(record.values()) + "\n")
    pq.write_table(pa.table({name: [value] for name, value in record.items()}), tmp_path / "c.parquet")
    write_tar(tmp_path / "d.tar", [("0.png", picture(0)), ("0.json", json.dumps(record).encode())])
    for name in ("a.jsonl", "b.csv", "c.parquet", "d.tar"):
        assert texts(read_all(tmp_path / name, text=["short", "long_*"])) == [["one", "two", "three"]]
        with pytest.raises(ConfigError, match=r"input\.text = 'wide_\*'"):
            read_all(tmp_path / name, text="wide_*")


@pytest.mark.parametrize("form", ["base64", "data", "url-safe", "object"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "parquet"])
def test_pictures_in_base64_are_pictures(form: str, suffix: str, tmp_path: Path) -> None:
    plain = [base64.b64encode(picture(i)).decode() for i in range(3)]
    values: list[Any] = {
        "base64": plain,
        "data": [f"data:image/png;base64,{value}" for value in plain],
        "url-safe": [base64.urlsafe_b64encode(picture(i)).decode().rstrip("=") for i in range(3)],
        "object": [{"bytes": value, "path": "x.png"} for value in plain],
    }[form]
    if form == "object" and suffix == "csv":
        values = [json.dumps(value) for value in values]
    if suffix == "parquet":
        pq.write_table(pa.table({"image": values, "text": ["a"] * 3}), tmp_path / "a.parquet")
    elif suffix == "csv":
        quoted = ['"' + value.replace('"', '""') + '"' for value in values]
        (tmp_path / "a.csv").write_text("image,text\n" + "".join(f"{value},a\n" for value in quoted))
    else:
        lines = [json.dumps({"image": value, "text": "a"}) + "\n" for value in values]
        (tmp_path / "a.jsonl").write_text("".join(lines))
    rows = read_all(tmp_path / f"a.{suffix}")
    assert [row["image"] for row in rows] == [picture(i) for i in range(3)]


def test_a_picture_of_some_megabytes_fits_into_a_line(tmp_path: Path) -> None:
    large = picture(0) + bytes(5_000_000)
    line = json.dumps({"image": base64.b64encode(large).decode(), "text": "a"})
    (tmp_path / "a.jsonl").write_text(line + "\n" + json.dumps({"image": "b.png", "text": "b"}) + "\n")
    rows = read_all(tmp_path / "a.jsonl")
    assert rows[0]["image"] == large
    assert rows[1]["reason"] == "missing_file"


def test_a_jpeg_in_the_alphabet_of_urls_is_a_picture(tmp_path: Path) -> None:
    """Its first bytes are _9j_ there: in the usual alphabet they look like a path."""
    jpeg = io.BytesIO()
    Image.new("RGB", (64, 64), (10, 200, 30)).save(jpeg, "JPEG")
    line = json.dumps({"image": base64.urlsafe_b64encode(jpeg.getvalue()).decode(), "text": "a"})
    (tmp_path / "list.jsonl").write_text(line + "\n")
    assert [row["image"] for row in read_all(tmp_path / "list.jsonl")] == [jpeg.getvalue()]


def test_broken_base64_is_a_bad_row(tmp_path: Path) -> None:
    broken = base64.b64encode(picture(0)).decode()[:-7] + "=" + "A" * 3
    (tmp_path / "a.jsonl").write_text(json.dumps({"image": broken, "text": "a"}) + "\n")
    (row,) = read_all(tmp_path / "a.jsonl")
    assert row["reason"] == "bad_row"
    assert "base64" in row["detail"]


@pytest.mark.parametrize("kind", [pa.binary(16), pa.binary(), pa.large_binary()])
@pytest.mark.parametrize("name", ["md5", "embedding", "data", "content"])
def test_a_binary_column_that_holds_no_image_leaves_the_urls_alone(
    name: str, kind: pa.DataType, tmp_path: Path
) -> None:
    hashes = pa.array([bytes([i]) * 16 for i in range(3)], kind)
    table = pa.table({"url": [f"http://h/{i}" for i in range(3)], "text": ["a", "b", "c"], name: hashes})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read_all(tmp_path / "a.parquet")
    assert [(row["url"], row["image"]) for row in rows] == [(f"http://h/{i}", None) for i in range(3)]


@pytest.mark.parametrize("kind", [pa.binary_view(), pa.large_binary(), pa.list_(pa.binary(), 1)])
@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_image_bytes_of_every_type_are_found_by_their_signature(suffix: str, kind: pa.DataType, tmp_path: Path) -> None:
    values = [[picture(i)] if pa.types.is_fixed_size_list(kind) else picture(i) for i in range(3)]
    table = pa.table({"url": ["http://h/0"] * 3, "blob": pa.array(values, kind), "text": ["a"] * 3})
    if suffix == "parquet":
        pq.write_table(table, tmp_path / "a.parquet")
    else:
        with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    assert [row["image"] for row in read_all(tmp_path / f"a.{suffix}")] == [picture(i) for i in range(3)]


def test_paths_in_a_column_of_urls_are_paths(tmp_path: Path) -> None:
    (tmp_path / "in.png").write_bytes(picture(0))
    values = [str(tmp_path / "in.png"), "in.png", "./in.png", f"file://{tmp_path}/in.png", "/elsewhere/a.png"]
    values += ["http://h/0.jpg", "www.example.com/a.jpg"]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"url": one, "text": "t"}) + "\n" for one in values))
    rows = read_all(tmp_path / "a.jsonl", merge="never")
    assert [row["image"] for row in rows] == [picture(0)] * 4 + [None] * 3
    assert [row["reason"] for row in rows] == [None] * 4 + ["missing_file", None, None]
    assert [row["url"] for row in rows[5:]] == values[5:]


@pytest.mark.parametrize("kind", ["jsonl", "json", "parquet", "tar"])
def test_several_pictures_in_a_sample_are_a_bad_row_in_every_format(kind: str, tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(picture(i))
    records = [{"images": ["0.png", "1.png"], "text": "two"}, {"images": ["2.png"], "text": "one"}]
    if kind == "jsonl":
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    elif kind == "json":
        (tmp_path / "a.json").write_text(json.dumps({"data": records}))
    elif kind == "parquet":
        images = [[picture(0), picture(1)], [picture(2)]]
        pq.write_table(pa.table({"images": images, "text": ["two", "one"]}), tmp_path / "a.parquet")
    else:
        members = [(f"{i}.{side}.png", picture(i)) for i in range(2) for side in ("left", "right")]
        write_tar(tmp_path / "a.tar", [*members, ("0.txt", b"two"), ("1.txt", b"two"), ("2.png", picture(2))])
    rows = read_all(tmp_path / f"a.{kind}")
    assert {row["reason"] for row in rows[:-1]} == {"bad_row"}
    assert all("2 images in one sample, expected one" in row["detail"] for row in rows[:-1])
    assert rows[-1]["image"] == picture(2)


def test_a_map_of_a_parquet_gives_its_values_and_no_keys(tmp_path: Path) -> None:
    said = pa.array([[("en", "a barn"), ("de", "eine Scheune")]], pa.map_(pa.string(), pa.string()))
    pq.write_table(pa.table({"url": ["http://h/0.jpg"], "text": said}), tmp_path / "a.parquet")
    assert texts(read_all(tmp_path / "a.parquet")) == [["a barn", "eine Scheune"]]


def test_columns_of_one_name_are_all_read_or_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("url,text,text,url\nhttp://h/0.jpg,a barn,a red barn,http://h/0.jpg\n")
    assert texts(read_all(tmp_path / "a.csv")) == [["a barn", "a red barn"]]
    columns = [["http://h/0.jpg"], ["a barn"], ["a red barn"]]
    pq.write_table(pa.table(columns, names=["url", "text", "text"]), tmp_path / "b.parquet")
    with pytest.raises(ConfigError, match="several columns are called text; rename them"):
        read_all(tmp_path / "b.parquet")


@pytest.mark.parametrize("form", ["postgres", "0x", "list of numbers"])
def test_pictures_in_hexadecimal_and_as_numbers_are_pictures(form: str, tmp_path: Path) -> None:
    spelled = {"postgres": "\\x" + picture(0).hex(), "0x": "0x" + picture(0).hex().upper()}
    if form in spelled:
        (tmp_path / "a.csv").write_text(f"image,text\n{spelled[form]},a barn\n")
    else:
        numbers = pa.array([list(picture(0))], pa.list_(pa.uint8()))
        pq.write_table(pa.table({"image": numbers, "text": ["a barn"]}), tmp_path / "a.parquet")
    (row,) = read_all(tmp_path)
    assert row["image"] == picture(0)
    assert texts([row]) == [["a barn"]]


def test_a_number_that_is_none_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"url": "http://h/0.jpg", "text": -Infinity}\n')
    assert texts(read_all(tmp_path / "a.jsonl")) == [[]]


def test_a_packed_parquet_is_named_for_what_it_is(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["http://h/0.jpg"], "text": ["a barn"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    with pytest.raises(ConfigError, match="a packed file of parquet; unpack it"):
        read_all(tmp_path / "b.parquet.gz")

"""Parquet: lists, plain image bytes, Hugging Face structs and img2dataset's own output."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from capfilt.core.config import InputSettings
from capfilt.core.errors import ConfigError, InputError
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.readers.columnar.arrow import ArrowTable
from reading import picture, read_all, texts, write_tar


def test_a_list_across_row_groups(tmp_path: Path) -> None:
    table = pa.table(
        {"URL": [f"http://h/{i}" for i in range(100)], "TEXT": [f"t {i}" for i in range(100)], "n": range(100)}
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=33)
    rows = read_all(tmp_path / "a.parquet", chunk_rows=30)
    assert [row["url"] for row in rows] == table["URL"].to_pylist()
    assert texts(rows) == [[text] for text in table["TEXT"].to_pylist()]
    assert rows[57]["source"] == "a.parquet#57"


@pytest.mark.parametrize("column", ["image", "bytes", "jpg", "odd_name"])
@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.list_(pa.binary())])
def test_plain_bytes(column: str, kind: pa.DataType, tmp_path: Path) -> None:
    values = [[picture(i)] if pa.types.is_list(kind) else picture(i) for i in range(5)]
    table = pa.table({column: pa.array(values, kind), "text": [["a", "b"]] * 5})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read_all(tmp_path / "a.parquet", chunk_rows=2)
    assert [row["image"] for row in rows] == [picture(i) for i in range(5)]
    assert texts(rows) == [["a", "b"]] * 5


def test_hugging_face_struct(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(picture(1))
    images = [
        {"bytes": picture(0), "path": "0.png"},
        {"bytes": None, "path": "1.png"},
        {"bytes": None, "path": "2.png"},
        {"bytes": None, "path": None},
        None,
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(images, kind), "label": range(5)}), tmp_path / "a.parquet")
    rows = read_all(tmp_path / "a.parquet")
    assert [row["image"] for row in rows] == [picture(0), picture(1), None, None, None]
    assert [row["reason"] for row in rows] == [None, None, "missing_file", "no_image", "no_image"]


def test_img2dataset_output_keeps_the_url_of_failed_rows(tmp_path: Path) -> None:
    table = pa.table(
        {
            "url": ["http://h/0", "http://h/1"],
            "caption": ["a", "b"],
            "key": ["000000000", "000000001"],
            "status": ["success", "failed_to_download"],
            "error_message": [None, "timeout"],
            "jpg": pa.array([picture(0), None], pa.binary()),
        }
    )
    pq.write_table(table, tmp_path / "00000.parquet")
    rows = read_all(tmp_path / "00000.parquet")
    assert [row["image"] for row in rows] == [picture(0), None]
    assert [row["url"] for row in rows] == ["http://h/0", "http://h/1"]
    assert [row["reason"] for row in rows] == [None, None]
    assert texts(rows) == [["a"], ["b"]]


def test_several_images_in_one_row_are_refused(tmp_path: Path) -> None:
    table = pa.table({"images": pa.array([[picture(0), picture(1)], [picture(2)]]), "text": ["a", "b"]})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read_all(tmp_path / "a.parquet")
    assert [row["reason"] for row in rows] == ["bad_row", None]
    assert "2 images" in rows[0]["detail"]


def test_paths_are_read_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(picture(0))
    pq.write_table(pa.table({"file_name": ["0.png", "../0.png"], "text": ["a", "b"]}), tmp_path / "a.parquet")
    rows = read_all(tmp_path / "a.parquet")
    assert [row["image"] for row in rows] == [picture(0), None]
    assert rows[1]["reason"] == "missing_file"


def test_a_text_that_is_not_utf8_is_a_bad_row(tmp_path: Path) -> None:
    raw = pa.array([b"caf\xe9", b"fine"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
    pq.write_table(pa.table({"url": ["http://h/0", "http://h/1"], "text": broken}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"url": [b"http://h/0", b"http://h/1"], "text": raw}), tmp_path / "b.parquet")
    for name in ("a.parquet", "b.parquet"):
        rows = read_all(tmp_path / name)
        assert [row["reason"] for row in rows] == ["bad_row", None]
        assert rows[0]["detail"] == "a text that is not UTF-8: b'caf\\xe9'"
        assert (texts(rows)[1], rows[1]["url"]) == (["fine"], "http://h/1")


def test_a_text_beside_a_shard_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("0.png", picture(0))])
    pq.write_table(pa.table({"key": ["0"], "caption": pa.array([b"caf\xe9"], pa.binary())}), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=r"a\.parquet: a text that is not UTF-8"):
        read_all(tmp_path / "a.tar")


def test_image_bytes_bound_the_chunk(tmp_path: Path) -> None:
    noise = [bytes((i * j * 31 + j // 7) % 256 for j in range(50_000)) for i in range(1, 41)]
    table = pa.table({"image": noise, "text": ["t"] * 40})
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    plan = make_plan([str(tmp_path / "a.parquet")], InputSettings(chunk_bytes=1_000_000))
    assert [chunk.rows for chunk in plan.chunks] == [19, 19, 2]


def test_damaged_pages_are_rows(tmp_path: Path) -> None:
    table = pa.table({"url": [f"http://h/{i}/{i * 7919}" for i in range(500)], "text": ["t"] * 500})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", row_group_size=250)
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(1).column(0)
    start = group.dictionary_page_offset or group.data_page_offset
    data[start + 40 : start + group.total_compressed_size] = bytes(group.total_compressed_size - 40)
    (tmp_path / "a.parquet").write_bytes(data)
    rows = read_all(tmp_path / "a.parquet", chunk_rows=100)
    assert len(rows) == 500
    assert [row["url"] for row in rows[:250]] == table["url"].to_pylist()[:250]
    assert {row["reason"] for row in rows[250:]} == {"bad_container"}


@pytest.mark.parametrize(
    ("columns", "settings", "said"),
    [
        ({"a": ["x"], "text": ["t"]}, {}, r"input\.url, one of: a, text"),
        ({"url": ["http://h"], "b": ["t"]}, {}, r"input\.text \(or none\), one of: url, b"),
        ({"url": ["http://h"], "text": ["t"]}, {"text": "alt"}, r"input\.text = 'alt' .* url, text"),
    ],
)
def test_wrong_columns_are_one_line(
    columns: dict[str, list[str]], settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(ConfigError, match=said):
        read_all(tmp_path / "a.parquet", **settings)


def test_a_named_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match=r"a\.parquet"):
        read_all(tmp_path / "a.parquet")
    pq.write_table(pa.table({"url": pa.array([], pa.string())}), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match=r"empty\.parquet: it has no rows"):
        read_all(tmp_path / "empty.parquet")


def test_column_names_that_are_not_utf8_are_one_line(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["http://h"], "TEXT": ["t"], "other": [1]}), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    for name in (b"TEXT", b"other"):
        (tmp_path / "a.parquet").write_bytes(data.replace(name, name[:1] + b"\xc6" + name[2:]))
        with pytest.raises(InputError, match=r"a\.parquet"):
            read_all(tmp_path / "a.parquet")


def test_an_arrow_file_whose_offsets_lead_astray_is_a_failure(tmp_path: Path) -> None:
    """Of memory beyond the file there would be a caption; of a negative length, an error nobody expects."""
    offsets = np.array([0, 4, 9, 4], np.int32)  # the third text has a length of -5
    strings = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(offsets), pa.py_buffer(b"a cat runs")])
    table = pa.table({"url": [f"http://h/{n}" for n in range(3)], "text": strings})
    with ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    rows = read_all(tmp_path / "a.arrow")
    assert {row["reason"] for row in rows} == {"bad_container"}
    assert texts(rows) == [[]] * len(rows)
    assert ArrowTable(str(tmp_path / "a.arrow")).stored_bytes(0, "text") == 0


def test_a_text_of_an_arrow_file_that_is_not_utf8_is_a_bad_row(tmp_path: Path) -> None:
    raw = pa.array([b"caf\xe9", b"fine"], pa.binary())
    table = pa.table(
        {"url": ["http://h/0", "http://h/1"], "text": pa.Array.from_buffers(pa.string(), 2, raw.buffers())}
    )
    with ipc.new_file(tmp_path / "a.arrow", table.schema) as file:
        file.write_table(table)
    rows = read_all(tmp_path / "a.arrow")
    assert [row["reason"] for row in rows] == ["bad_row", None]
    assert texts(rows)[1] == ["fine"]

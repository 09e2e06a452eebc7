"""Lists as text: every format, with and without header, well formed or not."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from capfilt.core.config import InputSettings
from capfilt.core.errors import ConfigError, InputError
from capfilt.pipelines.plan import make_plan
from reading import picture, read_all, texts

PAIRS = [(f"http://h{i}.example/{i}.jpg", f"a picture, number {i}") for i in range(5)]


def write_list(path: Path) -> Path:
    """The pairs in the format of the path's name, by the standard library's own writers."""
    suffixes = path.name.partition(".")[2]
    with gzip.open(path, "wt", newline="") if suffixes.endswith("gz") else path.open("w", newline="") as out:
        kind = suffixes.removesuffix(".gz")
        if kind in ("csv", "tsv"):
            writer = csv.writer(out, delimiter="," if kind == "csv" else "\t")
            writer.writerows([("url", "caption"), *PAIRS])
        elif kind == "jsonl":
            out.writelines(json.dumps({"image_url": url, "TEXT": text}) + "\n" for url, text in PAIRS)
        elif kind == "json":
            json.dump([{"URL": url, "alt": text} for url, text in PAIRS], out, indent=1)
        else:
            out.writelines(url + "\n" for url, _ in PAIRS)
    return path


@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "txt"])
def test_every_format_gives_the_same_rows(kind: str, packed: str, tmp_path: Path) -> None:
    rows = read_all(write_list(tmp_path / f"list.{kind}{packed}"), chunk_rows=2)
    assert [row["url"] for row in rows] == [url for url, _ in PAIRS]
    assert texts(rows) == [[] if kind == "txt" else [text] for _, text in PAIRS]
    assert [row["source"] for row in rows] == [f"list.{kind}{packed}#{i}" for i in range(5)]
    assert {text["source"] for row in rows for text in row["texts"]} <= {"web"}
    assert all(row["reason"] is None and row["image"] is None for row in rows)


@pytest.mark.parametrize(
    "content",
    [
        'a red car\thttp://h/0.jpg\n\'tis "odd" "\thttp://h/1.jpg\n',
        '1\thttp://h/0.jpg\ta red car\n2\thttp://h/1.jpg\t\'tis "odd" "\n',
    ],
)
def test_tsv_without_a_header_finds_the_url_by_content(content: str, tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text(content)
    rows = read_all(tmp_path / "list.tsv")
    assert [row["url"] for row in rows] == ["http://h/0.jpg", "http://h/1.jpg"]
    assert texts(rows) == [["a red car"], ['\'tis "odd" "']]


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_csv_with_another_delimiter(delimiter: str, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"url{delimiter}text\nhttp://h/0.jpg{delimiter}one, two\n")
    assert texts(read_all(tmp_path / "list.csv")) == [["one, two"]]


def test_quoted_fields_may_span_lines(tmp_path: Path) -> None:
    with (tmp_path / "list.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("url", "text"), *((f"http://h/{i}", f'say "{i}",\nplease') for i in range(7))])
    rows = read_all(tmp_path / "list.csv", chunk_rows=3)
    assert texts(rows) == [[f'say "{i}", please'] for i in range(7)]


def test_a_stray_quote_spoils_one_row_only(tmp_path: Path) -> None:
    lines = [f"http://h/{i},text {i}" for i in range(300)]
    lines[100] = '"http://h/100,never closed'
    (tmp_path / "list.csv").write_text("url,text\n" + "\n".join(lines) + "\n")
    rows = read_all(tmp_path / "list.csv", chunk_rows=90)
    assert len(rows) == 300
    assert [i for i, row in enumerate(rows) if row["reason"]] == [100]
    assert rows[100]["reason"] == "bad_row"
    assert rows[299]["url"] == "http://h/299"


def test_bad_lines_are_rows(tmp_path: Path) -> None:
    lines = ['{"url": "http://h/0", "text": "a"}', "{not json", "[1, 2]", "", '{"text": "no url"}', "[" * 9999]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    rows = read_all(tmp_path / "list.jsonl")
    assert [row["reason"] for row in rows] == [None, "bad_row", "bad_row", "no_image", "bad_row"]
    assert [row["stage"] for row in rows] == [None, "read", "read", "read", "read"]
    assert all(row["detail"] for row in rows[1:])


def test_wrong_number_of_columns_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url,text\nhttp://h/0,a\nhttp://h/1\nhttp://h/2,b,c\n,\n")
    rows = read_all(tmp_path / "list.csv")
    assert [row["reason"] for row in rows] == [None, "bad_row", "bad_row", "no_image"]
    assert rows[1]["detail"] == "1 columns, expected 2: http://h/1"


def test_texts_are_cleaned(tmp_path: Path) -> None:
    values: list[Any] = ["a\x00b\tc\n", ["one", "two", "one", None, " "], None, "", "\ud83d lone", "x" * 20_000, 7]
    with (tmp_path / "list.jsonl").open("w") as out:
        out.writelines(json.dumps({"url": f"http://h/{i}", "text": text}) + "\n" for i, text in enumerate(values))
    found = texts(read_all(tmp_path / "list.jsonl"))
    assert found == [["a b c"], ["one", "two"], [], [], ["\ufffd lone"], ["x" * 10_000], ["7"]]


def test_what_is_not_utf8_is_told_by_its_bytes_or_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"\xef\xbb\xbfurl,text\nhttp://h/0,caf\xe9\n")
    (tmp_path / "list.jsonl").write_bytes(b'{"url": "http://h/0", "text": "caf\xe9"}\n')
    rows = read_all(tmp_path / "list.csv", tmp_path / "list.jsonl")
    assert texts(rows) == [[], ["caf\u00e9"]]
    assert rows[0]["reason"] == "bad_row"  # the mark says that it is UTF-8
    assert rows[1]["url"] == "http://h/0"


def test_columns_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url,where,alt,words\nhttp://x/0,http://h/0,a,b\n")
    assert read_all(tmp_path / "list.csv")[0]["url"] == "http://x/0"
    rows = read_all(tmp_path / "list.csv", url="where", text="words")
    assert (rows[0]["url"], texts(rows)) == ("http://h/0", [["b"]])
    assert texts(read_all(tmp_path / "list.csv", text="none")) == [[]]


def test_objects_may_differ_in_their_fields(tmp_path: Path) -> None:
    objects = [{"url": "http://h/0", "alt": "no", "caption": "a"}, {"url": "http://h/1", "captions": ["b", "c"]}]
    (tmp_path / "list.json").write_text(json.dumps(objects))
    assert texts(read_all(tmp_path / "list.json")) == [["a"], ["b", "c"]]


def test_paths_are_read_relative_to_the_list(tmp_path: Path) -> None:
    (tmp_path / "set" / "sub").mkdir(parents=True)
    (tmp_path / "set" / "sub" / "a.png").write_bytes(picture(1))
    (tmp_path / "outside.png").write_bytes(picture(2))
    names = ["sub/a.png", "./sub/../sub/a.png", "sub/b.png", "../outside.png", str(tmp_path / "outside.png"), "sub"]
    with (tmp_path / "set" / "list.csv").open("w", newline="") as out:
        csv.writer(out).writerows([("file_name", "text"), *((name, f"t{n}") for n, name in enumerate(names))])
    rows = read_all(tmp_path / "set" / "list.csv")
    assert [row["image"] for row in rows] == [picture(1), None, None, None, None]
    assert texts(rows)[0] == ["t0", "t1"]  # of one file under two spellings
    assert [row["reason"] for row in rows] == [None, *["missing_file"] * 4]
    assert "leaves the folder" in rows[2]["detail"]
    assert "leaves the folder" in rows[3]["detail"]
    assert str(tmp_path) not in rows[2]["detail"]


def test_a_missing_file_with_a_url_can_still_be_fetched(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(picture(0))
    (tmp_path / "list.csv").write_text("url,file_name,text\nhttp://h/0,0.png,a\nhttp://h/1,1.png,b\n")
    rows = read_all(tmp_path / "list.csv")
    assert [row["image"] for row in rows] == [picture(0), None]
    assert [row["url"] for row in rows] == ["http://h/0", "http://h/1"]
    assert [row["reason"] for row in rows] == [None, None]


def test_pictures_count_towards_the_bytes_of_a_chunk(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number}.png").write_bytes(bytes(400_000))
    (tmp_path / "list.jsonl").write_text("".join(f'{{"file": "{i}.png", "text": "t"}}\n' for i in range(4)))
    plan = make_plan([str(tmp_path / "list.jsonl")], InputSettings(chunk_bytes=1_000_000))
    assert [chunk.rows for chunk in plan.chunks] == [2, 2]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "json"])
def test_a_packed_list_that_breaks_off_keeps_what_came_before(kind: str, tmp_path: Path) -> None:
    urls = [f"http://h{i * 7919 % 1000}.example/{i * 31}" for i in range(3000)]
    lines = {
        "jsonl": "".join(json.dumps({"url": url, "text": "t"}) + "\n" for url in urls),
        "csv": "url,text\n" + "".join(f"{url},t\n" for url in urls),
        "json": json.dumps([{"url": url, "text": "t"} for url in urls]),
    }[kind]
    whole = gzip.compress(lines.encode(), mtime=0)
    path = tmp_path / f"list.{kind}.gz"
    for cut in (len(whole) // 3, len(whole) // 2, len(whole) - 9):
        path.write_bytes(whole[:cut])
        if kind == "json":  # an array is parsed as a whole, so that nothing of it is left
            with pytest.raises(InputError, match=r"list\.json\.gz"):
                read_all(path)
            continue
        rows = read_all(path)
        assert [row["url"] for row in rows[:-1]] == urls[: len(rows) - 1]
        assert len(rows) > 10
        assert rows[-1]["reason"] == "bad_container"


def test_a_json_array_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    whole = json.dumps([{"url": f"http://h/{i}", "text": "t"} for i in range(9)])
    (tmp_path / "list.json").write_text(whole[: whole.index("h/7")])
    rows = read_all(tmp_path / "list.json")
    assert [row["url"] for row in rows] == [*(f"http://h/{i}" for i in range(7)), None]
    assert rows[-1]["reason"] == "bad_container"


@pytest.mark.parametrize(
    ("name", "content", "settings", "said"),
    [
        ("list.csv", "link_to_pic,words\nhttp://h/0,a\n", {}, r"input\.url, one of: link_to_pic, words"),
        ("list.csv", "url,words\nhttp://h/0,a\n", {}, r"input\.text \(or none\), one of: url, words"),
        ("list.csv", "url,text\nhttp://h/0,a\n", {"url": "URLS"}, r"input\.url = 'URLS' .* url, text"),
        ("list.jsonl", '{"url": "http://h/0", "text": "a"}\n', {"text": "alt"}, r"input\.text = 'alt' .* url, text"),
        ("list.txt", "just words\n", {}, "one URL"),
        ("list.json", '{\n"a": 1\n}\n', {}, "no shape that holds images"),
    ],
)
def test_wrong_columns_are_one_line(
    name: str, content: str, settings: dict[str, str], said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=said) as caught:
        read_all(tmp_path / name, **settings)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "content"), [("a.csv", "url,text\n"), ("a.jsonl", ""), ("a.json", "[]")])
def test_a_list_without_rows_is_refused(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises((InputError, ConfigError), match=name):
        read_all(tmp_path / name)

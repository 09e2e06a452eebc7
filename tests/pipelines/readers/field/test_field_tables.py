"""Text tables as people write them: encodings, dialects, missing values, a picture that is listed several times."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.config import InputSettings
from capfilt.core.errors import ConfigError
from capfilt.pipelines.plan import make_plan
from reading import picture, read_all, texts, write_tar

FRENCH = ["un café crème", "une façade à Besançon", "les élèves de l'école"]
RUSSIAN = ["красный амбар у пруда", "две собаки бегут по песку", "старый велосипед у стены"]  # noqa: RUF001
CHINESE = ["一只红色的谷仓在池塘旁边", "两只狗在沙滩上跑", "一辆旧自行车靠在墙上"]
JAPANESE = ["赤い納屋と凍った池", "二匹の犬が砂の上を走る", "古い自転車が壁にもたれている"]


def table(captions: list[str], mark: str = ",", header: str = "url{}caption\n") -> str:
    rows = [f"http://h/{i}.jpg{mark}{caption}\n" for i, caption in enumerate(captions)]
    return header.format(mark) + "".join(rows)


@pytest.mark.parametrize(
    ("encoding", "captions"),
    [
        ("cp1252", FRENCH),
        ("cp1251", RUSSIAN),
        ("koi8_r", RUSSIAN),
        ("gbk", CHINESE),
        ("big5", ["紅色的穀倉在結冰的池塘旁邊", "兩隻狗在沙灘上跑"]),
        ("shift_jis", JAPANESE),
        ("euc_jp", JAPANESE),
        ("utf-16", FRENCH),
        ("utf-16-le", FRENCH),
        ("utf-32", RUSSIAN),
        ("utf-8-sig", CHINESE),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl"])
def test_letters_are_those_that_were_written(kind: str, encoding: str, captions: list[str], tmp_path: Path) -> None:
    lines = "".join(
        json.dumps({"url": f"http://h/{i}.jpg", "text": caption}, ensure_ascii=False) + "\n"
        for i, caption in enumerate(captions)
    )
    content = {"csv": table(captions), "tsv": table(captions, "\t"), "jsonl": lines}[kind]
    (tmp_path / f"list.{kind}").write_bytes(content.encode(encoding))
    settings = {}
    if (kind, encoding) == ("jsonl", "euc_jp"):  # kanji of so few lines may also be Chinese, and nothing is read
        with pytest.raises(ConfigError, match=r"its encoding may be big5 or euc_jp; give input\.encoding"):
            read_all(tmp_path / "list.jsonl")
        settings = {"encoding": encoding}
    rows = read_all(tmp_path / f"list.{kind}", chunk_rows=2, **settings)
    assert texts(rows) == [[caption] for caption in captions]


def test_an_encoding_that_cannot_be_told_is_refused_and_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(table(["niño con sombrero"]).encode("cp1252"))
    with pytest.raises(ConfigError, match=r"list\.csv: its encoding may be cp1250 or cp1252; give input\.encoding"):
        read_all(tmp_path / "list.csv")
    assert texts(read_all(tmp_path / "list.csv", encoding="cp1252")) == [["niño con sombrero"]]


@pytest.mark.slow
def test_one_odd_line_behind_the_first_megabytes_is_seen(tmp_path: Path) -> None:
    lines = table(["a plain caption"] * 60_000).encode() + table(FRENCH, header="").encode("cp1252")
    (tmp_path / "list.csv").write_bytes(lines)
    rows = read_all(tmp_path / "list.csv", chunk_rows=10_000, merge="never")
    assert [row["texts"][0]["text"] for row in rows[-3:]] == FRENCH


def test_a_damaged_line_of_utf8_is_a_bad_row(tmp_path: Path) -> None:
    lines = table(CHINESE).encode().splitlines(keepends=True)
    (tmp_path / "list.csv").write_bytes(b"".join([*lines, b"http://h/9.jpg,caf\xe9\n"]))
    rows = read_all(tmp_path / "list.csv")
    assert [row["reason"] for row in rows] == [None, None, None, "bad_row"]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "cp1251"])
def test_texts_beside_pictures_and_in_shards_have_their_letters(encoding: str, tmp_path: Path) -> None:
    captions = RUSSIAN if encoding == "cp1251" else FRENCH
    members = []
    (tmp_path / "folder").mkdir()
    for i, caption in enumerate(captions):
        members += [(f"{i}.png", picture(i)), (f"{i}.txt", caption.encode(encoding))]
    for name, content in members:
        (tmp_path / "folder" / name).write_bytes(content)
    write_tar(tmp_path / "a.tar", members)
    assert texts(read_all(tmp_path / "folder")) == [[caption] for caption in captions]
    assert texts(read_all(tmp_path / "a.tar")) == [[caption] for caption in captions]


def test_a_text_beside_a_picture_whose_encoding_cannot_be_told_fails_its_row(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(picture(0))
    (tmp_path / "0.txt").write_bytes("niño".encode("cp1252"))
    (row,) = read_all(tmp_path)
    assert row["reason"] == "bad_row"
    assert "input.encoding" in row["detail"]
    assert read_all(tmp_path, encoding="cp1252")[0]["texts"][0]["text"] == "niño"


@pytest.mark.parametrize("mark", ["|", ";", "\t", ","])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "txt"])
def test_the_delimiter_is_the_one_that_frees_the_url(suffix: str, mark: str, tmp_path: Path) -> None:
    captions = [f"photo {i} of a barn seen from the left" for i in range(6)]
    if mark not in ",;":
        captions = [caption.replace(" of", ", of").replace(" seen", "; seen") for caption in captions]
    (tmp_path / f"list.{suffix}").write_text(table(captions, mark, header=""))
    rows = read_all(tmp_path / f"list.{suffix}")
    assert [row["url"] for row in rows] == [f"http://h/{i}.jpg" for i in range(6)]
    assert texts(rows) == [[caption] for caption in captions]


def test_a_delimiter_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("url~text\nhttp://h/0.jpg~one, two\n")
    assert texts(read_all(tmp_path / "list.csv", delimiter="~")) == [["one, two"]]
    with pytest.raises(ValueError, match="one ASCII character"):
        InputSettings(delimiter="ab")


def test_lines_that_hold_more_than_a_url_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("http://h/0.jpg a red barn\nhttp://h/1.jpg two dogs\n")
    with pytest.raises(ConfigError, match=r"input\.delimiter"):
        make_plan([str(tmp_path / "list.txt")], InputSettings())


@pytest.mark.parametrize("mark", [",", "\t"])
def test_quoted_line_ends_and_escaped_quotes(mark: str, tmp_path: Path) -> None:
    suffix = "tsv" if mark == "\t" else "csv"
    rows = [f'http://h/{i}.jpg{mark}"line one\n\nline{mark}two of {i}"\n' for i in range(5)]
    (tmp_path / f"a.{suffix}").write_text(f"url{mark}text\n" + "".join(rows))
    assert texts(read_all(tmp_path / f"a.{suffix}", chunk_rows=2)) == [
        [f"line one  line{mark.replace(chr(9), ' ')}two of {i}"] for i in range(5)
    ]
    spark = [f'http://h/{i}.jpg{mark}"the sign says \\"open, always\\", {i}"\n' for i in range(5)]
    (tmp_path / f"b.{suffix}").write_text(f"url{mark}text\n" + "".join(spark))
    assert texts(read_all(tmp_path / f"b.{suffix}", chunk_rows=2)) == [
        [f'the sign says "open, always", {i}'] for i in range(5)
    ]


def test_an_escaped_quote_that_comes_late_is_a_bad_row_and_no_garbage(tmp_path: Path) -> None:
    late = 'http://h/x.jpg,"says \\"hello\\" twice"\n'
    (tmp_path / "list.csv").write_text(table([f"caption {i}" for i in range(400)]) + late)
    rows = read_all(tmp_path / "list.csv", chunk_rows=1000)
    assert [row["reason"] for row in rows] == [None] * 400 + ["bad_row"]
    assert "input.quote" in rows[-1]["detail"]


@pytest.mark.parametrize("extra", ["", "0\t", "17\thash\t"])
def test_yfcc100m_without_a_header(extra: str, tmp_path: Path) -> None:
    def line(i: int) -> str:
        head = ["6000", "0@N00", "me", "2010-05-06", "1273140000", "Canon", f"photo+{i}%3A+a+barn", f"by+a+pond+{i}"]
        more = ["tree", "", "", "", "", f"http://h/page/{i}/", f"http://h/{i}.jpg"]
        tail = ["Attribution License", "http://creativecommons.org/licenses/by/2.0/", "5", "6", "ab", "cd", "jpg", "0"]
        return extra + "\t".join(head + more + tail) + "\n"

    (tmp_path / "yfcc.tsv").write_text("".join(map(line, range(4))))
    rows = read_all(tmp_path / "yfcc.tsv")
    assert [row["url"] for row in rows] == [f"http://h/{i}.jpg" for i in range(4)]
    assert texts(rows)[2] == ["photo 2: a barn", "by a pond 2"]


@pytest.mark.parametrize("word", ["nan", "NaN", "None", "NULL", "<NA>", "N/A", "null", "\\N", ""])
def test_a_missing_value_is_no_text(word: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(table([word, "a barn"]))
    (tmp_path / "b.tsv").write_text(table([word, "a barn"], "\t"))
    pq.write_table(pa.table({"url": ["http://h/0", "http://h/1"], "text": [word, "a barn"]}), tmp_path / "c.parquet")
    for name in ("a.csv", "b.tsv", "c.parquet"):
        assert texts(read_all(tmp_path / name)) == [[], ["a barn"]]


def test_nan_in_json_and_arrow_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"url": "http://h/0", "text": NaN}\n{"url": "http://h/1", "text": [NaN, "b"]}\n')
    pq.write_table(pa.table({"url": ["http://h/0"], "text": [float("nan")]}), tmp_path / "b.parquet")
    assert texts(read_all(tmp_path / "a.jsonl")) == [[], ["b"]]
    assert texts(read_all(tmp_path / "b.parquet")) == [[]]


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, lambda data: _zstd(data)])
@pytest.mark.parametrize("name", ["LIST.JSONL.GZ", "list.csv", "list.csv.bz2", "list.csv.xz", "list.csv.zst"])
def test_a_packed_list_is_told_by_its_bytes(name: str, pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    content = '{"url": "http://h/0.jpg", "text": "a barn"}\n' if "JSONL" in name else table(["a barn"])
    (tmp_path / name).write_bytes(pack(content.encode()))
    assert texts(read_all(tmp_path / name)) == [["a barn"]]


def _zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


def listed(kind: str, pairs: list[tuple[str, str]]) -> str:
    if kind == "jsonl":
        return "".join(json.dumps({"file_name": name, "text": text}) + "\n" for name, text in pairs)
    if kind == "json":
        return json.dumps([{"file_name": name, "text": text} for name, text in pairs])
    if kind == "token.txt":
        return "".join(f"{name}#{i}\t{text}\n" for i, (name, text) in enumerate(pairs))
    return "image,caption\n" + "".join(f"{name},{text}\n" for name, text in pairs)


@pytest.mark.parametrize("kind", ["csv", "txt", "token.txt", "jsonl", "json", "parquet"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_picture_that_is_listed_five_times_is_one_with_five_texts(kind: str, shuffled: bool, tmp_path: Path) -> None:
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(picture(i))
    pairs = [(f"{i}.png", f"text {number} of {i}") for i in range(4) for number in range(5)]
    pairs = sorted(pairs, key=lambda pair: pair[1]) if shuffled else pairs
    if kind == "parquet":
        names, captions = zip(*pairs, strict=True)
        pq.write_table(pa.table({"file_name": names, "text": captions}), tmp_path / "list.parquet", row_group_size=7)
    else:
        (tmp_path / f"list.{kind}").write_text(listed(kind, pairs))
    rows = read_all(tmp_path, chunk_rows=3)
    assert [row["image"] for row in rows] == [picture(i) for i in range(4)]
    assert texts(rows) == [[f"text {number} of {i}" for number in range(5)] for i in range(4)]
    apart = read_all(tmp_path, merge="never")
    assert texts(apart) == [[text] for _, text in pairs]


def test_a_row_that_cannot_be_parsed_stays_a_row_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture(0))
    (tmp_path / "results.csv").write_text(
        "image_name| comment_number| comment\na.png| 0| one , two\na.png| 1   three\na.png| 2| four\n"
    )
    rows = read_all(tmp_path)
    assert texts(rows) == [["one , two", "four"], []]
    assert rows[1]["reason"] == "bad_row"
    assert rows[1]["detail"] == "2 columns, expected 3: a.png| 1   three"


def test_urls_of_a_parquet_are_merged_only_when_asked(tmp_path: Path) -> None:
    pq.write_table(pa.table({"url": ["http://h/0"] * 3, "text": ["a", "b", "c"]}), tmp_path / "a.parquet")
    assert len(read_all(tmp_path / "a.parquet")) == 3
    assert len(read_all(tmp_path / "a.parquet", merge="always")) == 1


@pytest.mark.parametrize("as_struct", [False, True])
def test_bytes_of_a_parquet_are_merged_only_when_asked(as_struct: bool, tmp_path: Path) -> None:
    files = [picture(0), picture(1), picture(0), picture(0), None]
    images = [{"bytes": file, "path": "a.png"} for file in files] if as_struct else files
    table = pa.table({"image": images, "text": ["a", "b", "c", "d", "e"]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    assert len(read_all(tmp_path / "a.parquet")) == 5
    rows = read_all(tmp_path / "a.parquet", merge="always")
    assert [row["image"] for row in rows[:2]] == [picture(0), picture(1)]
    assert texts(rows[:2]) == [["a", "c", "d"], ["b"]]
    assert len(rows) == 3


def test_spellings_of_one_path_name_one_picture(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "a.png").write_bytes(picture(0))
    names = ["x/a.png", "./x/a.png", "x//a.png", "x/./a.png#2"]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps({"file_name": n, "text": n}) + "\n" for n in names))
    assert texts(read_all(tmp_path / "list.jsonl")) == [names]


@pytest.mark.parametrize("url", [r"http:\\h\a.jpg", "http:/h/a.jpg", "HTTPS:h/a.jpg"])
def test_a_mistyped_url_fails_as_a_url_not_as_a_missing_file(url: str, tmp_path: Path) -> None:
    records = [{"url": "http://h/0.jpg", "text": "zero"}, {"url": url, "text": "one"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    row = read_all(tmp_path / "a.jsonl")[1]
    assert (row["url"], row["reason"]) == (url, None)


@pytest.mark.parametrize(
    ("above", "header"),
    [
        ("sep=,\n", "url,caption\n"),
        ("SEP=,\r\n", "url,caption\n"),
        ("# made by X, 2024-01-01\n# second line; of notes\n", "url,caption\n"),
        ("# notes\n", ""),
        ("", "#url,caption\n"),  # a header
    ],
)
@pytest.mark.parametrize("kind", ["csv", "txt"])
def test_what_stands_above_a_table_is_no_row_of_it(kind: str, above: str, header: str, tmp_path: Path) -> None:
    lines = "".join(f"http://h/{i}.jpg,caption {i}\n" for i in range(4))
    (tmp_path / f"list.{kind}").write_text(above + header + lines, newline="")
    settings = {"url": "#url"} if header.startswith("#") else {}
    rows = read_all(tmp_path / f"list.{kind}", chunk_rows=2, **settings)
    assert [row["url"] for row in rows] == [f"http://h/{i}.jpg" for i in range(4)]
    assert texts(rows) == [[f"caption {i}"] for i in range(4)]


def test_comments_above_plain_urls_are_no_rows(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# pictures of today\nhttp://h/0.jpg\nhttp://h/1.jpg\n")
    assert [row["url"] for row in read_all(tmp_path / "list.txt")] == ["http://h/0.jpg", "http://h/1.jpg"]

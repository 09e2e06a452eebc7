"""Shapes of captions, names and columns as data sets write them, each small."""

import base64
import io
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reading import picture, read_all, texts, write_tar

URL = "http://h/0.jpg"


def one(tmp_path: Path, **record: object) -> dict[str, object]:
    """The row of a list with one record."""
    (tmp_path / "a.jsonl").write_text(json.dumps(record))
    (row,) = read_all(tmp_path / "a.jsonl")
    return row


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("{'caption': 'a cat', 'score': 0.5}", ["a cat"]),
        ("('a cat', \"a dog's\")", ["a cat", "a dog's"]),
        ("['a cat', None]", ["a cat"]),
        ("[None]", []),
        ("[]", []),
        ("{}", []),
        ("('a cat')", ["('a cat')"]),
        ("(a cat)", ["(a cat)"]),
        ("{a cat}", ["{a cat}"]),
        ({"0": "a cat", "1": "a dog"}, ["a cat", "a dog"]),
        ({"short": "a cat", "long": "a cat on a mat"}, ["a cat", "a cat on a mat"]),
        ({"human": ["a cat"], "model": ["a dog"], "tags": ["x"]}, ["a cat", "a dog"]),
        ({"vlm_caption": "a cat", "human_caption": "a dog", "author": "Jo Doe"}, ["a cat", "a dog"]),
    ],
)
def test_captions_in_any_spelling(tmp_path: Path, caption: object, expected: list[str]) -> None:
    assert texts([one(tmp_path, url=URL, caption=caption)]) == [expected]


@pytest.mark.parametrize("said", ["-", "--", "?", '""', '"nan"', "<br/>", "&nbsp;", "<p> </p>", "\u200b", "\ufffd"])
def test_what_says_nothing_is_no_text(tmp_path: Path, said: str) -> None:
    assert texts([one(tmp_path, url=URL, caption=said)]) == [[]]


@pytest.mark.parametrize("said", ["7", "<b>cat</b>", "\U0001f600", "AT&T", "<cat>", "\u732b", "a - b"])
def test_what_says_little_is_kept_as_written(tmp_path: Path, said: str) -> None:
    assert texts([one(tmp_path, url=URL, caption=said)]) == [[said]]


def test_numbered_columns_beside_a_plain_one_are_taken_too(tmp_path: Path) -> None:
    row = one(tmp_path, url=URL, caption="one", caption_2="two", caption_2_score=1, title="no")
    assert texts([row]) == [["one", "two"]]


@pytest.mark.parametrize("written", [f"<{URL}>", f'"{URL}"', f"'{URL}'"])
def test_quotes_and_brackets_around_a_url_are_no_part_of_it(tmp_path: Path, written: str) -> None:
    assert one(tmp_path, url=written, caption="a cat")["url"] == URL


@pytest.mark.parametrize("encoded", [False, True])
def test_bytes_as_python_spells_them_are_read(tmp_path: Path, encoded: bool) -> None:
    content = picture(3)
    spelled = str(base64.b64encode(content) if encoded else content)
    assert one(tmp_path, image=spelled, caption="a cat")["image"] == content


def test_bytes_that_python_spells_and_breaks_off_are_a_bad_row(tmp_path: Path) -> None:
    assert one(tmp_path, image=str(picture(3))[:60], caption="a cat")["reason"] == "bad_row"


@pytest.mark.parametrize("page", ["url", "link"])
def test_urls_of_pages_are_not_taken_for_those_of_images(tmp_path: Path, page: str) -> None:
    header = f"{page},image,caption\n"
    (tmp_path / "a.csv").write_text(header + "".join(f"http://shop/{i},http://h/{i}.jpg,cap {i}\n" for i in range(3)))
    assert [row["url"] for row in read_all(tmp_path / "a.csv")] == [f"http://h/{i}.jpg" for i in range(3)]


@pytest.mark.parametrize(("column", "other"), [("url", "7.jpg"), ("image_url", "http://h/small.jpg")])
def test_a_url_without_a_suffix_stays_that_of_the_image(tmp_path: Path, column: str, other: str) -> None:
    row = one(tmp_path, **{column: "http://cdn/7", "image": other}, caption="a cat")
    assert row["url"] == "http://cdn/7"


def test_a_thumbnail_does_not_stand_for_the_image_that_a_url_names(tmp_path: Path) -> None:
    table = pa.table({"url": [URL], "caption": ["a cat"], "thumbnail": [picture(1)]})
    pq.write_table(table, tmp_path / "a.parquet")
    (row,) = read_all(tmp_path / "a.parquet")
    assert (row["url"], row["image"]) == (URL, None)


def test_a_table_with_control_a_between_its_columns(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"http://h/{i}.jpg\x01cap, {i}\n" for i in range(3)))
    assert texts(read_all(tmp_path / "a.txt")) == [[f"cap, {i}"] for i in range(3)]


@pytest.mark.parametrize("text", ["p.{}.txt", "p.{}.jpg.txt"])
def test_a_text_named_after_an_image_with_dots_is_its_own(tmp_path: Path, text: str) -> None:
    members = [(f"p.{i}.jpg", picture(i)) for i in range(3)] + [(text.format(i), f"cap {i}".encode()) for i in range(3)]
    rows = read_all(write_tar(tmp_path / "a.tar", members))
    assert [(row["image"], *texts([row])[0]) for row in rows] == [(picture(i), f"cap {i}") for i in range(3)]


def test_numbered_texts_of_one_image_in_a_shard_are_all_its_own(tmp_path: Path) -> None:
    members = [
        member
        for i in range(3)
        for member in ((f"{i}.jpg", picture(i)), (f"{i}.0.txt", b"one"), (f"{i}.1.txt", b"two"))
    ]
    assert texts(read_all(write_tar(tmp_path / "a.tar", members))) == [["one", "two"]] * 3


@pytest.mark.parametrize("packed", [False, True])
def test_hard_links_in_a_shard_are_the_files_they_name(tmp_path: Path, packed: bool) -> None:
    with tarfile.open(tmp_path / "a.tar", "w:gz" if packed else "w") as archive:
        for name, content in (("a.png", picture(1)), ("a.txt", b"a cat")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name in ("b.png", "b.txt"):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.LNKTYPE, name.replace("b", "a", 1)
            archive.addfile(info)
    rows = read_all(tmp_path / "a.tar")
    assert [(row["image"], *texts([row])[0]) for row in rows] == [(picture(1), "a cat")] * 2


def test_jsonl_beside_a_shard_gives_its_texts(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [(f"{i}.png", picture(i)) for i in range(2)])
    listed = [json.dumps({"file_name": f"{i}.png", "text": f"cap {i}"}) for i in range(2)]
    (tmp_path / "0.jsonl").write_text("\n".join(listed))
    assert texts(read_all(tmp_path / "0.tar")) == [["cap 0"], ["cap 1"]]

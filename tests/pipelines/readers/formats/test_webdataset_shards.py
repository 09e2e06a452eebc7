"""webdataset shards: grouping, captions, sidecars, and archives that break off."""

import io
import json
import tarfile
from pathlib import Path

import pytest

from capfilt.core.config import InputSettings
from capfilt.core.errors import ConfigError, InputError, IntegrityError
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.stages.read import read
from reading import picture, read_all, texts, write_tar


def samples(count: int) -> list[tuple[str, bytes]]:
    """Members of `count` samples: a picture, a caption and JSON with two captions, one of them the same."""
    members = []
    for i in range(count):
        described = json.dumps({"captions": [f"text {i}", f"other {i}"], "url": f"http://h/{i}"})
        members += [(f"{i:04d}.png", picture(i)), (f"{i:04d}.txt", f"text {i}\n".encode())]
        members.append((f"{i:04d}.json", described.encode()))
    return members


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_are_rows(kind: int, tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", samples(7), kind)
    rows = read_all(tmp_path / "a.tar", chunk_rows=3)
    assert [row["source"] for row in rows] == [f"a.tar#{i:04d}" for i in range(7)]
    assert [row["image"] for row in rows] == [picture(i) for i in range(7)]
    assert texts(rows) == [[f"text {i}", f"other {i}"] for i in range(7)]
    assert [row["url"] for row in rows] == [f"http://h/{i}" for i in range(7)]


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names(kind: int, tmp_path: Path) -> None:
    key = "d\u00e9ep/" * 40 + "\u732b"
    write_tar(tmp_path / "a.tar", [(f"./{key}.png", picture(0)), (f"./{key}.txt", b"a cat")], kind)
    (row,) = read_all(tmp_path / "a.tar")
    assert row["source"] == f"a.tar#{key}"
    assert row["texts"][0]["text"] == "a cat"


def test_members_need_not_stand_together(tmp_path: Path) -> None:
    members = sorted(samples(5), key=lambda member: member[0][-3:])
    rows = read_all(write_tar(tmp_path / "a.tar", members), chunk_rows=2)
    assert [row["image"] for row in rows] == [picture(i) for i in range(5)]
    assert texts(rows)[3] == ["text 3", "other 3"]


def test_a_key_that_comes_again_is_a_row_of_its_own(tmp_path: Path) -> None:
    members = [("k.png", picture(0)), ("k.txt", b"a"), ("k.png", picture(1)), ("k.txt", b"b"), ("k.png", picture(2))]
    rows = read_all(write_tar(tmp_path / "a.tar", members))
    assert [row["source"] for row in rows] == ["a.tar#k", "a.tar#k#2", "a.tar#k#3"]
    assert [row["image"] for row in rows] == [picture(0), picture(1), picture(2)]
    assert texts(rows) == [["a"], ["b"], []]


def test_odd_members(tmp_path: Path) -> None:
    path = write_tar(
        tmp_path / "a.tar", [("text.txt", b"no image"), ("url.json", b'{"url": "http://h/0"}'), ("._x.png", b"mac")]
    )
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        archive.addfile(link)
        archive.addfile(folder)
        empty = tarfile.TarInfo("empty.png")
        archive.addfile(empty)
    rows = {row["source"]: row for row in read_all(path)}
    assert {source: row["reason"] for source, row in rows.items()} == {
        "a.tar#text": "no_image",
        "a.tar#url": None,
        "a.tar#link": "missing_file",
        "a.tar#empty": None,
    }
    assert rows["a.tar#url"]["url"] == "http://h/0"
    assert rows["a.tar#empty"]["image"] == b""


def test_text_field_can_be_named(tmp_path: Path) -> None:
    members = [("k.png", picture(0)), ("k.txt", b"a"), ("k.json", b'{"caption": "b", "alt": "c"}')]
    path = write_tar(tmp_path / "a.tar", members)
    assert texts(read_all(path)) == [["a", "b"]]
    assert texts(read_all(path, text="alt")) == [["c"]]
    assert texts(read_all(path, text="txt")) == [["a"]]
    assert texts(read_all(path, text="none")) == [[]]
    with pytest.raises(ConfigError, match=r"input\.text = 'words' .* txt, caption, alt"):
        read_all(path, text="words")


def test_a_sidecar_gives_the_texts(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", [("0.png", picture(0)), ("in/1.png", picture(1)), ("2.png", picture(2))])
    (tmp_path / "s.csv").write_text("image_name,caption\n0.png,zero\n1.png,one\n1.png,uno\n9.png,nine\n")
    for inputs in (
        [tmp_path],
        [tmp_path / "s.tar"],
        [tmp_path / "s.csv", tmp_path / "s.tar"],
        [tmp_path / "*.csv", tmp_path / "*.tar"],
    ):
        rows = read_all(*inputs)
        assert texts(rows) == [["zero"], ["one", "uno"], [], []]
        assert [row["reason"] for row in rows] == [None, None, None, "missing_file"]
        assert rows[3]["source"].endswith("s.tar#9.png")


def test_two_archives_in_one_file(tmp_path: Path) -> None:
    one = write_tar(tmp_path / "1.tar", [("a.png", picture(0))]).read_bytes()
    two = write_tar(tmp_path / "2.tar", [("b.png", picture(1))]).read_bytes()
    (tmp_path / "both.tar").write_bytes(one + two)
    assert [row["source"] for row in read_all(tmp_path / "both.tar")] == ["both.tar#a", "both.tar#b"]


def test_a_shard_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "whole.tar", samples(4)).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as archive:
        ends = [info.offset_data + info.size for info in archive if info.name.endswith("png")]
        end_of_members = archive.offset
    for cut in range(100, end_of_members, 333):
        path = tmp_path / "cut.tar"
        path.write_bytes(whole[:cut])
        expected = sum(end <= cut for end in ends)
        if not expected:
            with pytest.raises(InputError, match=r"cut\.tar"):
                read_all(path)
            continue
        rows = read_all(path, chunk_rows=2)
        assert [row["image"] for row in rows[:expected]] == [picture(i) for i in range(expected)]
        assert [row["reason"] for row in rows[expected:]].count("bad_container") == 1
        assert rows[-1]["reason"] == "bad_container"


def test_garbage_between_members(tmp_path: Path) -> None:
    whole = bytearray(write_tar(tmp_path / "a.tar", samples(3)).read_bytes())
    with tarfile.open(tmp_path / "a.tar") as archive:
        offset = archive.getmember("0001.png").offset
    whole[offset : offset + 512] = b"\xa5" * 512
    (tmp_path / "a.tar").write_bytes(whole)
    rows = read_all(tmp_path / "a.tar")
    assert [row["reason"] for row in rows] == [None, "bad_container"]
    assert "no tar header" in rows[1]["detail"]


@pytest.mark.parametrize("content", [b"", b"garbage" * 999, bytes(10240)])
def test_a_named_file_that_is_no_shard_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tar"):
        read_all(tmp_path / "a.tar")


def test_hostile_sizes_end_the_walk(tmp_path: Path) -> None:
    good = tarfile.TarInfo("0.png")
    good.size = len(picture(0))
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(good, io.BytesIO(picture(0)))
    head = out.getvalue()[: 512 + 512 * -(-good.size // 512)]
    for size in (2**62, -512, -1):
        bad = tarfile.TarInfo("1.png")
        bad.size = size
        (tmp_path / "a.tar").write_bytes(head + bad.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
        assert [row["reason"] for row in read_all(tmp_path / "a.tar")] == [None, "bad_container"]


def test_a_shard_that_changed_after_the_plan_is_noticed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", samples(4))
    (chunk,) = make_plan([str(path)], InputSettings()).chunks
    path.write_bytes(path.read_bytes()[:2000] + b"\xa5" * 20_000)
    with pytest.raises(IntegrityError, match=r"a\.tar"):
        read(chunk)


def test_a_member_above_the_cap_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capfilt.pipelines.readers.shards.webdataset.MAX_IMAGE_BYTES", len(picture(0)) + 10)
    members = [("a.png", picture(0)), ("b.png", bytes(len(picture(0)) + 11)), ("c.png", picture(0))]
    rows = read_all(write_tar(tmp_path / "a.tar", members))
    assert [row["reason"] for row in rows] == [None, "too_large", None]


@pytest.mark.parametrize("text", ["caption.txt", "meta.json", "text_0.txt"])
def test_a_folder_may_be_a_sample(text: str, tmp_path: Path) -> None:
    content = [b'{"caption": "cap %d"}' % i if text.endswith("json") else b"cap %d" % i for i in range(3)]
    members = [(f"s/{i}/image.png", picture(i)) for i in range(3)]
    members += [(f"s/{i}/{text}", content[i]) for i in reversed(range(3))]
    rows = read_all(write_tar(tmp_path / "a.tar", members))
    assert [(row["image"], *own) for row, own in zip(rows, texts(rows), strict=True)] == [
        (picture(i), f"cap {i}") for i in range(3)
    ]


@pytest.mark.parametrize("stray", ["readme.txt", "docs/readme.txt", "info.json"])
def test_a_stray_text_does_not_part_samples_that_are_folders(stray: str, tmp_path: Path) -> None:
    members = [
        (f"{i}/{name}", data) for i in range(2) for name, data in (("a.png", picture(i)), ("b.txt", b"cap %d" % i))
    ]
    rows = read_all(write_tar(tmp_path / "a.tar", [(stray, b"{}"), *members]))
    assert [own for row, own in zip(rows, texts(rows), strict=True) if row["image"]] == [["cap 0"], ["cap 1"]]
    assert [row["reason"] for row in rows if not row["image"]] == ["no_image"]


def test_folders_with_several_pictures_are_no_samples(tmp_path: Path) -> None:
    members = [(f"{i}/{side}.png", picture(i)) for i in range(2) for side in ("left", "right")]
    rows = read_all(
        write_tar(tmp_path / "a.tar", [*members, ("0/note.txt", b"of which?"), ("1/note.txt", b"of both?")])
    )
    assert all(not row["texts"] for row in rows if row["image"])

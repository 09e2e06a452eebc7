"""Folders and arguments as people have them: what stands there is read, or named with a reason; keys of tar members."""

import gzip
import json
import re
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.config import InputSettings
from capfilt.core.errors import ConfigError, InputError
from capfilt.pipelines.plan import make_plan
from reading import picture, read_all, texts, write_tar


def notes(folder: Path, **settings: Any) -> str:
    return "\n".join(make_plan([str(folder)], InputSettings(**settings)).notes)


def pictures(folder: Path, count: int = 4, first: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        (folder / f"{i}.png").write_bytes(picture(i))


def test_pictures_are_read_beside_shards_and_lists(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    pictures(folder, 5)
    (folder / "4.txt").write_text("four")
    write_tar(folder / "backup.tar", [("9.png", picture(9)), ("9.txt", b"nine")])
    (folder / "old").mkdir()
    write_tar(folder / "old" / "src.tar", [("main.c", b"int main;"), ("Makefile", b"all:")])
    (folder / "urls.csv").write_text("url,text\nhttp://h/0.jpg,a url\n")
    (folder / "some.csv").write_text("file_name,text\n2.png,two\n")
    (folder / "notes.csv").write_text("day,weather\nmonday,rain\n")
    (folder / "README.md").write_text("# words")
    (folder / "LICENSE").write_text("words")
    rows = {row["source"]: row for row in read_all(folder)}
    assert {source: [text["text"] for text in row["texts"]] for source, row in rows.items()} == {
        **{f"data#{i}.png": [] for i in (0, 1, 3)},
        "data#4.png": ["four"],
        "data/backup.tar#9": ["nine"],
        "data/urls.csv#0": ["a url"],
        "data/some.csv#0": ["two"],
    }
    assert all(row["reason"] is None for row in rows.values())
    said = notes(folder)
    for name in ("notes.csv", "README.md", "LICENSE", "src.tar"):
        assert said.count(name) == 1
    assert "an archive without images or texts" in said


def test_a_folder_of_nothing_that_can_be_read_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("day,weather\nmonday,rain\n")
    with pytest.raises(InputError, match=r"nothing to read; notes\.csv: no list of images"):
        make_plan([str(tmp_path)], InputSettings())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.zip", b"PK\x03\x04" + bytes(30), "ZIP archive"),
        ("a.xlsx", b"PK\x03\x04" + bytes(30), r"save a sheet as \.csv"),
        ("a.pdf", b"%PDF-1.7", "PDF document"),
        ("a.h5", b"\x89HDF\r\n", "HDF5"),
        ("a.pkl", b"\x80\x04\x95" + bytes(9), "pickle, which is never loaded"),
        (
            "metadata.json1",
            b'{"file_name": "0.png"}\n{"file_name": "1.png"}\n',
            r"it reads like \.csv or \.jsonl; rename it",
        ),
        ("list.parquet.bak", b"", "an empty file"),
    ],
)
def test_what_is_no_input_is_named_with_what_it_is(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    pictures(tmp_path, 2)
    (tmp_path / name).write_bytes(content)
    assert len(read_all(tmp_path)) == 2
    assert len(make_plan([str(tmp_path)], InputSettings()).notes) == 1
    assert name in notes(tmp_path)
    assert re.search(said, notes(tmp_path))


def test_a_text_without_an_image_is_named(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    (tmp_path / "7.txt").write_text("seven")
    assert len(read_all(tmp_path)) == 1
    assert "1 left out, a text without an image of its name, and no list" in notes(tmp_path)
    assert "7.txt" in notes(tmp_path)
    (tmp_path / "7.txt").rename(tmp_path / "7.caption")
    assert "a text without an image of its name: 7.caption" in notes(tmp_path)


def test_links_out_of_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    pictures(tmp_path / "outside", 2)
    pictures(tmp_path / "in", 1, first=5)
    (tmp_path / "secret").write_text("root:x:0:0")
    (tmp_path / "in" / "5.txt").symlink_to(tmp_path / "secret")
    (tmp_path / "in" / "all").symlink_to(tmp_path / "outside")
    (tmp_path / "in" / "same.png").symlink_to("5.png")
    rows = read_all(tmp_path / "in")
    assert [row["source"] for row in rows] == ["in#5.png", "in#same.png"]
    assert all(not row["texts"] for row in rows)
    assert "2 left out, a link that leaves the folder: 5.txt, all" in notes(tmp_path / "in")
    (tmp_path / "in" / "list.csv").write_text("file_name,text\nall/0.png,t\n5.txt,t\n")
    listed = [row for row in read_all(tmp_path / "in") if "list.csv" in row["source"]]
    assert {row["reason"] for row in listed} == {"missing_file"}
    assert all("a link that leaves the folder" in row["detail"] for row in listed)


def test_a_snapshot_of_a_hugging_face_cache_is_read_through_its_links(tmp_path: Path) -> None:
    pictures(tmp_path / "blobs", 1)
    snapshot = tmp_path / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "a.png").symlink_to("../../blobs/0.png")
    assert [row["image"] for row in read_all(snapshot)] == [picture(0)]


@pytest.mark.parametrize("place", ["Images", "flickr/Images", "."])
def test_a_list_finds_its_pictures_in_a_folder_beside_it(place: str, tmp_path: Path) -> None:
    pictures(tmp_path / "set" / place)
    lines = "image,caption\n" + "".join(f"{i}.png,text {i}\n" for i in range(4))
    (tmp_path / "set" / "captions.txt").write_text(lines)
    rows = read_all(tmp_path / "set")
    assert [row["image"] for row in rows] == [picture(i) for i in range(4)]
    assert texts(rows) == [[f"text {i}"] for i in range(4)]
    if place != "flickr/Images":
        assert [row["image"] for row in read_all(tmp_path / "set" / "captions.txt")] == [picture(i) for i in range(4)]


@pytest.mark.parametrize("prefix", ["train/", "data/train/", "/srv/data/train/", "./"])
def test_folders_in_front_of_a_name_that_are_not_there_are_left_off(prefix: str, tmp_path: Path) -> None:
    pictures(tmp_path / "set" / "train")
    lines = [json.dumps({"file_name": f"{prefix}{i}.png", "text": "t"}) + "\n" for i in range(4)]
    (tmp_path / "set" / "train" / "metadata.jsonl").write_text("".join(lines))
    for given in (tmp_path / "set", tmp_path / "set" / "train", tmp_path / "set" / "train" / "metadata.jsonl"):
        assert [row["image"] for row in read_all(given)] == [picture(i) for i in range(4)]


def test_two_pictures_of_a_name_are_not_guessed_between(tmp_path: Path) -> None:
    pictures(tmp_path / "a", 1)
    pictures(tmp_path / "b", 1)
    (tmp_path / "list.csv").write_text("file_name,text\n0.png,t\n")
    (row,) = [row for row in read_all(tmp_path) if "list.csv" in row["source"]]
    assert row["reason"] == "missing_file"


@pytest.mark.parametrize("pack", ["tar.gz", "tgz", "tar.bz2", "tar.xz", "tar"])
def test_a_packed_shard_is_read(pack: str, tmp_path: Path) -> None:
    mode = {"tar.gz": "w:gz", "tgz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz", "tar": "w:gz"}[pack]
    (tmp_path / "data").mkdir()
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(picture(i))
        (tmp_path / f"{i}.txt").write_text(f"text {i}")
    with tarfile.open(tmp_path / "data" / f"a.{pack}", mode) as archive:
        for i in range(6):
            archive.add(tmp_path / f"{i}.png", f"{i}.png")
            archive.add(tmp_path / f"{i}.txt", f"{i}.txt")
    rows = read_all(tmp_path / "data", chunk_rows=2)
    assert [row["image"] for row in rows] == [picture(i) for i in range(6)]
    assert texts(rows) == [[f"text {i}"] for i in range(6)]


def test_a_packed_shard_that_breaks_off_keeps_what_came_before(tmp_path: Path) -> None:
    noise = [bytes((i * j * 31 + j // 7) % 256 for j in range(40_000)) for i in range(1, 9)]
    members = [(f"{i}.png", picture(i) + noise[i]) for i in range(8)]
    whole = gzip.compress(write_tar(tmp_path / "a.tar", members).read_bytes(), 1)
    (tmp_path / "a.tar").unlink()
    (tmp_path / "a.tar.gz").write_bytes(whole[: len(whole) * 2 // 3])
    rows = read_all(tmp_path / "a.tar.gz", chunk_rows=2)
    assert 0 < len(rows) - 1 < 8
    assert [row["image"] for row in rows[:-1]] == [content for _, content in members[: len(rows) - 1]]
    assert rows[-1]["reason"] == "bad_container"


def test_braces_are_expanded(tmp_path: Path) -> None:
    for i in range(12):
        write_tar(tmp_path / f"{i:05d}.tar", [(f"{i}.png", picture(i))])
    assert len(read_all(f"{tmp_path}/{{00000..00011}}.tar")) == 12
    assert len(read_all(f"{tmp_path}/{{00000,00007}}.tar")) == 2
    assert len(read_all(f"{tmp_path}/000{{00..01}}.tar")) == 2
    with pytest.raises(InputError, match=r"00012\.tar: no such file"):
        read_all(f"{tmp_path}/{{00010..00012}}.tar")


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_captions_in_a_table_beside_a_shard(suffix: str, tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", [(f"{i:09d}.png", picture(i)) for i in range(4)])
    names = [f"{i:09d}" for i in range(4)]
    captions = [f"text {i}" for i in range(4)]
    if suffix == "parquet":
        pq.write_table(pa.table({"key": names, "caption": captions}), tmp_path / "00000.parquet")
    else:
        mark = "," if suffix == "csv" else "\t"
        lines = [f"{name}.png{mark}{caption}\n" for name, caption in zip(names, captions, strict=True)]
        (tmp_path / f"00000.{suffix}").write_text(f"file_name{mark}caption\n" + "".join(lines))
    for given in (tmp_path, tmp_path / "00000.tar"):
        assert texts(read_all(given)) == [[caption] for caption in captions]


def test_a_table_beside_a_shard_is_read_in_the_encoding_that_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", [("0.png", picture(0))])
    (tmp_path / "00000.csv").write_bytes("file_name,caption\n0.png,caf\u00e9\n".encode("mac_roman"))
    assert texts(read_all(tmp_path, encoding="mac_roman")) == [["caf\u00e9"]]
    (tmp_path / "00000.csv").write_bytes(b"file_name,caption\n0.png," + bytes(range(0x81, 0xA0)) + b"\n")
    with pytest.raises(ConfigError, match=r"00000\.csv: .*input\.encoding"):
        make_plan([str(tmp_path)], InputSettings())


DOTTED = {
    "as sites write them": ["shop.example_{}.png", "shop.example_{}.json"],
    "as cameras write them": ["IMG.2021.05.{}.png", "IMG.2021.05.{}.txt"],
    "in front and behind": ["st.{}.hall.png", "st.{}.hall.txt"],
}


@pytest.mark.parametrize("kind", DOTTED)
@pytest.mark.parametrize("order", ["by name", "by kind", "alternating"])
def test_dots_in_names_put_no_text_on_another_picture(kind: str, order: str, tmp_path: Path) -> None:
    members = []
    for i in range(1, 7):
        for pattern in DOTTED[kind]:
            is_json = pattern.endswith("json")
            text = json.dumps({"caption": f"text {i}"}) if is_json else f"text {i}"
            members.append((pattern.format(i), picture(i) if pattern.endswith("png") else text.encode()))
    if order == "by name":
        members.sort()
    elif order == "by kind":
        members.sort(key=lambda member: member[0].rpartition(".")[2])
    rows = read_all(write_tar(tmp_path / "a.tar", members), chunk_rows=2)
    found = {row["image"]: [text["text"] for text in row["texts"]] for row in rows}
    assert found == {picture(i): [f"text {i}"] for i in range(1, 7)}


def test_texts_and_pictures_that_do_not_pair_stay_apart(tmp_path: Path) -> None:
    members = [
        ("st.john.png", picture(0)),
        ("st.mary.txt", b"mary"),
        ("st.paul.png", picture(1)),
        ("x.png", picture(2)),
    ]
    rows = read_all(write_tar(tmp_path / "a.tar", [*members, ("x.txt", b"x")]))
    found = {row["source"].partition("#")[2]: [text["text"] for text in row["texts"]] for row in rows}
    assert found == {"st.john": [], "st.mary": ["mary"], "st.paul": [], "x": ["x"]}
    assert [row["reason"] for row in rows if row["source"].endswith("mary")] == ["no_image"]


def test_pictures_with_dots_and_without_texts_are_rows(tmp_path: Path) -> None:
    members = [(f"site.{i:04d}.png", picture(i)) for i in range(20)]
    assert [row["image"] for row in read_all(write_tar(tmp_path / "a.tar", members))] == [picture(i) for i in range(20)]


def test_roles_that_recur_keep_webdatasets_rule(tmp_path: Path) -> None:
    members = []
    for i in range(3):
        members += [(f"{i:04d}.photo.png", picture(i)), (f"{i:04d}.caption.txt", f"text {i}".encode())]
    rows = read_all(write_tar(tmp_path / "a.tar", members))
    assert [row["source"] for row in rows] == [f"a.tar#{i:04d}" for i in range(3)]
    assert texts(rows) == [[f"text {i}"] for i in range(3)]
    masks = [(f"{i:04d}.seg.png", picture(50 + i)) for i in range(3)]
    plain = [(f"{i:04d}.png", picture(i)) for i in range(3)] + [(f"{i:04d}.txt", f"t {i}".encode()) for i in range(3)]
    rows = read_all(write_tar(tmp_path / "b.tar", sorted(plain + masks)))
    assert {row["image"]: [t["text"] for t in row["texts"]] for row in rows} == {
        **{picture(i): [f"t {i}"] for i in range(3)},
        **{picture(50 + i): [] for i in range(3)},
    }

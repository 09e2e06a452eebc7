"""From arguments to input files: what is an input, what it is called, and what a person is told."""

import os
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.config import InputSettings
from capfilt.core.errors import ConfigError, InputError
from capfilt.pipelines.plan import find_inputs, make_plan
from reading import picture, read_all, texts, write_tar

LIST = "url,text\nhttp://h/0,a\n"


def identities(*inputs: Path | str) -> list[str]:
    return [file.identity for file in find_inputs([str(one) for one in inputs])]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """data/{a,b}/{0,1}.csv and data/a/.hidden.csv"""
    for folder in ("a", "b"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        for number in range(2):
            (tmp_path / "data" / folder / f"{number}.csv").write_text(LIST)
    (tmp_path / "data" / "a" / ".hidden.csv").write_text(LIST)
    return tmp_path / "data"


def test_identities_start_at_the_argument(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ["data/a/0.csv", "data/a/1.csv", "data/b/0.csv", "data/b/1.csv"]
    assert identities(tree) == whole
    assert identities(f"{tree}/") == whole
    assert identities(tree / "*") == whole
    assert identities(tree / "**" / "*.csv") == whole
    assert identities(tree / "?" / "[0-1].csv") == whole
    assert identities(tree.as_uri()) == whole
    assert identities(tree / "a") == ["a/0.csv", "a/1.csv"]
    assert identities(tree / "a" / "0.csv") == ["0.csv"]
    monkeypatch.chdir(tree)
    assert identities(".") == whole
    assert identities("*/0.csv") == ["data/a/0.csv", "data/b/0.csv"]
    assert identities("a/../b") == ["b/0.csv", "b/1.csv"]


def test_a_file_counts_once(tree: Path) -> None:
    assert identities(tree, tree / "a", tree / "a" / "0.csv", tree / "*" / "1.csv") == identities(tree)


def test_equal_identities_become_whole_paths(tree: Path) -> None:
    first, second = tree / "a" / "0.csv", tree / "b" / "0.csv"
    assert identities(second, first, tree / "b" / "1.csv") == [str(first), str(second), "1.csv"]


def test_a_name_with_wildcards_that_is_there_is_that_file(tree: Path) -> None:
    (tree / "0[1].csv").write_text(LIST)
    assert identities(tree / "0[1].csv") == ["0[1].csv"]


def test_a_link_keeps_its_own_name(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "blob").write_text(LIST)
    (tmp_path / "list.csv").symlink_to(tmp_path / "blob")
    assert identities(tmp_path / "list.csv") == ["list.csv"]


def test_uids_survive_a_move(tree: Path, tmp_path: Path) -> None:
    before = read_all(tree)
    shutil.copytree(tree, tmp_path / "elsewhere" / "data")
    shutil.rmtree(tree)
    assert read_all(tmp_path / "elsewhere" / "data") == before


def test_what_describes_shards_is_no_input(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    write_tar(folder / "00000.tar", [("0.png", picture(0)), ("0.txt", b"a")])
    pq.write_table(pa.table({"url": ["http://h/0"], "key": ["0"], "status": ["success"]}), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text('{\n  "count": 1\n}')
    (folder / "labels.jsonl").write_text('{"image": "0.png", "caption": "a", "label": "match"}\n')
    (folder / "README.txt").write_text("words\n")
    (folder / "more.csv").write_text(LIST)
    assert identities(folder) == ["data/00000.tar", "data/more.csv"]
    notes = make_plan([str(folder)], InputSettings()).notes
    for name in ("00000.parquet", "00000_stats.json", "labels.jsonl"):
        assert sum(name in note for note in notes) == 1
    assert identities(folder / "labels.jsonl") == ["labels.jsonl"]


def test_an_img2dataset_folder_of_files(tmp_path: Path) -> None:
    shard = tmp_path / "out" / "00000"
    shard.mkdir(parents=True)
    for number in range(3):
        (shard / f"{number:09d}.png").write_bytes(picture(number))
        (shard / f"{number:09d}.txt").write_text(f"text {number}")
        (shard / f"{number:09d}.json").write_text(f'{{"caption": "text {number}", "url": "http://h/{number}"}}')
    log = {"url": ["http://h/0"], "caption": ["text 0"], "key": ["000000000"], "status": ["success"]}
    pq.write_table(pa.table(log), tmp_path / "out" / "00000.parquet")
    (tmp_path / "out" / "00000_stats.json").write_text('{"count": 3}')
    rows = read_all(tmp_path / "out")
    assert texts(rows) == [[f"text {number}"] for number in range(3)]
    assert [row["url"] for row in rows] == [f"http://h/{number}" for number in range(3)]


def test_a_broken_file_in_a_directory_is_data(tree: Path) -> None:
    names = ("one.tar", "two.parquet", "three.jsonl.gz")
    for name in names:
        (tree / name).write_bytes(b"garbage" * 100)
    rows = {row["source"]: row for row in read_all(tree)}
    assert len(rows) == 7
    for name in names:
        assert rows[f"data/{name}#broken"]["reason"] == "bad_container"
        assert str(tree) not in rows[f"data/{name}#broken"]["detail"]
    assert sum(row["reason"] is None for row in rows.values()) == 4


def test_a_directory_where_everything_is_broken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "0.tar").write_bytes(b"garbage" * 100)
    (tmp_path / "data" / "1.parquet").write_bytes(b"garbage")
    with pytest.raises(InputError, match=r"data: .*tar header"):
        read_all(tmp_path / "data")


def test_a_list_without_rows_among_others_is_nothing(tree: Path) -> None:
    (tree / "empty.csv").write_text("url,text\n")
    (tree / "empty.tar").write_bytes(bytes(10240))
    assert len(read_all(tree)) == 4


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("nothing.csv", "no such file or folder"),
        ("*.nothing", "no file matches"),
        ("empty", "the folder is empty"),
        ("file.xyz", r"unknown file type, an empty file; known: \.json"),
        ("s3://bucket/x.csv?endpoint_override=127.0.0.1:9&scheme=nonsense", "s3://"),
        ("gopher://bucket/x.csv", "gopher"),
        ("s3://KEY:SECRET@bucket/x.csv", "AWS_ACCESS_KEY_ID"),
        ("headers", "it has no rows"),
    ],
)
def test_mistakes_are_one_line(argument: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkdir("empty")
    os.mkdir("headers")
    Path("headers/a.csv").write_text("url,text\n")
    Path("file.xyz").touch()
    with pytest.raises(InputError, match=said) as caught:
        make_plan([argument], InputSettings())
    assert argument.partition("?")[0].replace("KEY:SECRET@", "") in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_one_empty_argument_among_good_ones_is_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("url,text\n")
    with pytest.raises(InputError, match=r"empty\.csv: it has no rows"):
        make_plan([str(tree), str(tmp_path / "empty.csv")], InputSettings())
    with pytest.raises(InputError, match="no input"):
        make_plan([], InputSettings())


def test_a_wrong_column_in_a_directory_names_the_file(tree: Path) -> None:
    (tree / "b" / "2.csv").write_text("link,words\nhttp://h,a\n")
    (tree / "b" / "3.csv").write_text("where,words\nhttp://h,a\n")
    with pytest.raises(ConfigError, match=r"2\.csv: .*input\.text"):
        make_plan([str(tree)], InputSettings())
    (tree / "b" / "2.csv").unlink()
    with pytest.raises(ConfigError, match=r"3\.csv: .*input\.url, one of: where, words"):
        make_plan([str(tree)], InputSettings())


def test_a_wrong_setting_does_not_turn_a_json_list_into_a_picture(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "list.json").write_text('[{"url": "http://h/0", "text": "a"}]')
    with pytest.raises(ConfigError, match=r"input\.url = 'link' .* url, text"):
        make_plan([str(tmp_path / "data")], InputSettings(url="link"))

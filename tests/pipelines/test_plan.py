"""The plan: chunks, limit, digests; the same for the same input, wherever it lies."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.chunks import Chunk
from capfilt.core.config import InputSettings
from capfilt.core.errors import ChangedError, ConfigError, IntegrityError
from capfilt.core.schema import ROWS, make_uid
from capfilt.pipelines import input_digest
from capfilt.pipelines.known_inputs import KnownInputs
from capfilt.pipelines.plan import find_inputs, make_plan
from capfilt.pipelines.stages.read import read
from pictures import picture


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Three lists: 700 rows of Parquet, 30 of CSV, 5 of JSON lines."""
    folder = tmp_path / "lists"
    folder.mkdir()
    urls = [f"http://h/{i}" for i in range(735)]
    pq.write_table(pa.table({"url": urls[:700], "text": ["t"] * 700}), folder / "a.parquet", row_group_size=300)
    (folder / "b.csv").write_text("url,text\n" + "".join(f"{url},t\n" for url in urls[700:730]))
    (folder / "c.jsonl").write_text("".join(json.dumps({"url": url, "text": "t"}) + "\n" for url in urls[730:]))
    return folder


def urls_of(chunks: tuple[Chunk, ...]) -> list[str]:
    return [url for chunk in chunks for url in read(chunk)["url"].to_pylist()]


def test_small_files_share_a_chunk(lists: Path) -> None:
    plan = make_plan([str(lists)], InputSettings(chunk_rows=256))
    assert [chunk.rows for chunk in plan.chunks] == [256, 256, 223]
    assert [len(chunk.parts) for chunk in plan.chunks] == [1, 1, 3]
    assert [chunk.name for chunk in plan.chunks] == ["000000", "000001", "000002"]
    assert plan.rows == 735
    assert urls_of(plan.chunks) == [f"http://h/{i}" for i in range(735)]


def test_rows_have_the_schema_and_the_uid_of_identity_key_and_url(lists: Path) -> None:
    (chunk,) = make_plan([str(lists / "b.csv")], InputSettings()).chunks
    table = read(chunk)
    assert table.schema == ROWS
    table.validate(full=True)
    assert table["uid"][7].as_py() == make_uid("b.csv", "7", "http://h/707")
    assert table["source"][7].as_py() == "b.csv#7"


def test_equal_inputs_give_an_equal_plan(lists: Path, tmp_path: Path) -> None:
    plan = make_plan([str(lists)], InputSettings())
    assert make_plan([str(lists)], InputSettings()) == plan
    pair = [str(lists / "c.jsonl"), str(lists / "b.csv")]
    assert make_plan(pair, InputSettings()).chunks == make_plan(pair[::-1], InputSettings()).chunks
    shutil.copytree(lists, tmp_path / "copy" / "lists")
    moved = make_plan([str(tmp_path / "copy" / "lists")], InputSettings())
    assert moved.inputs == plan.inputs
    assert [read(chunk) for chunk in moved.chunks] == [read(chunk) for chunk in plan.chunks]


def test_chunks_survive_json(lists: Path) -> None:
    for chunk in make_plan([str(lists)], InputSettings()).chunks:
        again = Chunk.from_json(chunk.to_json())
        assert again == chunk
        assert read(again).equals(read(chunk))
        assert len(chunk.to_json()) < 300 * (1 + len(chunk.parts))


@pytest.mark.parametrize("limit", [1, 255, 256, 257, 699, 700, 705, 734, 735, 9999])
def test_limit_takes_the_first_rows(limit: int, lists: Path) -> None:
    plan = make_plan([str(lists)], InputSettings(), limit)
    assert urls_of(plan.chunks) == [f"http://h/{i}" for i in range(min(limit, 735))]
    assert len(plan.inputs) == (1 if limit <= 700 else 2 if limit <= 730 else 3)


@pytest.mark.slow
def test_limit_cuts_every_format(tmp_path: Path, shared_data: Path) -> None:
    for name in (
        "flickr8k_112",
        "malformed",
        "photos",
        "formats/cc12m-train-0000.tar",
        "formats/hf_image_bytes.parquet",
    ):
        whole = read(make_plan([str(shared_data / name)], InputSettings(chunk_rows=10), 10).chunks[0])
        (chunk,) = make_plan([str(shared_data / name)], InputSettings(), 2).chunks
        assert read(chunk).equals(whole.slice(0, 2))


def test_a_limit_of_nothing_is_refused(lists: Path) -> None:
    with pytest.raises(ConfigError, match="limit"):
        make_plan([str(lists)], InputSettings(), 0)


@pytest.mark.parametrize("whole", [input_digest.WHOLE, 1000])
def test_digests_name_what_changed(whole: int, lists: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_digest, "WHOLE", whole)  # with 1000 the Parquet file counts as a large one
    before = make_plan([str(lists)], InputSettings()).inputs
    assert [one.identity for one in before] == ["lists/a.parquet", "lists/b.csv", "lists/c.jsonl"]
    assert [one.size for one in before] == [file.stat().st_size for file in sorted(lists.iterdir())]
    for name in ("a.parquet", "b.csv"):
        data = bytearray((lists / name).read_bytes())
        data[20] ^= 1
        (lists / name).write_bytes(data)
    after = [one for file in find_inputs([str(lists)]) for one in input_digest.digest(file)]
    assert [one.sha256 == was.sha256 for one, was in zip(after, before, strict=True)] == [False, False, True]
    assert [one.size for one in after] == [one.size for one in before]


def test_the_digest_of_a_folder_covers_its_pictures_and_texts(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"1")
    (folder / "a.txt").write_text("one")
    digests = set()
    for name, content in (("a.png", b"1"), ("a.png", b"2"), ("a.txt", b"two"), ("b.png", b"3")):
        (folder / name).write_bytes(content)
        digests.add(make_plan([str(folder)], InputSettings()).inputs)
    assert len(digests) == 4


def test_the_digest_of_a_shard_comes_with_that_of_its_sidecar(shared_data: Path) -> None:
    plan = make_plan([str(shared_data / "formats" / "broken" / "shards_correct")], InputSettings())
    assert [one.identity for one in plan.inputs] == ["shards_correct/0.tar", "shards_correct/0.csv"]


@pytest.mark.parametrize("name", ["a.parquet", "b.csv", "c.jsonl"])
def test_a_file_that_shrank_after_the_plan_is_noticed(name: str, lists: Path) -> None:
    plan = make_plan([str(lists / name)], InputSettings())
    if name == "a.parquet":
        pq.write_table(pa.table({"url": ["http://h"], "text": ["t"]}), lists / name)
    else:
        (lists / name).write_text((lists / name).read_text()[:60])
    with pytest.raises(IntegrityError, match=name):
        urls_of(plan.chunks)


@pytest.mark.slow
def test_a_million_rows_are_planned_in_seconds(tmp_path: Path) -> None:
    rows = 100_000  # a tenth, in a tenth of the time
    urls = pa.array([f"http://host.example/{i}" for i in range(rows)])
    pq.write_table(pa.table({"url": urls, "text": urls}), tmp_path / "a.parquet")
    (tmp_path / "b.csv").write_text("url,text\n" + "".join(f'http://host.example/{i},"no, {i}"\n' for i in range(rows)))
    plan = make_plan([str(tmp_path / "a.parquet"), str(tmp_path / "b.csv")], InputSettings())
    assert plan.rows == 2 * rows
    assert read(plan.chunks[-1])["url"].to_pylist()[-1] == f"http://host.example/{rows - 1}"


def known_of(*inputs: Path) -> KnownInputs:
    """What a run over these inputs has."""
    plan = make_plan([str(one) for one in inputs], InputSettings())
    facts = {one.identity: (one.size, one.sha256) for one in plan.inputs}
    return KnownInputs(facts, [part for chunk in plan.chunks for part in chunk.parts])


def test_a_file_is_known_whatever_arguments_lead_to_it(lists: Path, tmp_path: Path) -> None:
    csv, elsewhere = lists / "b.csv", tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(csv, elsewhere / "renamed.csv")
    (elsewhere / "b.csv").write_text("url,text\nhttp://h/new,t\n")
    for known, given, rows in (
        ([csv], [csv], 0),
        ([csv], [csv, elsewhere / "b.csv"], 1),  # beside another of its name, a file is called by its path
        ([csv, elsewhere / "b.csv"], [csv], 0),
        ([csv], [elsewhere / "renamed.csv"], 0),
        ([csv], [lists], 705),
        ([lists], [csv], 0),
    ):
        plan = make_plan([str(one) for one in given], InputSettings(), known=known_of(*known))
        assert plan.rows == rows, (known, given)
    before = known_of(csv)
    csv.write_text("url,text\nhttp://h/other,t\n")
    with pytest.raises(ChangedError, match=r"b\.csv' with other contents"):
        make_plan([str(csv), str(elsewhere / "b.csv")], InputSettings(), known=before)


def test_images_that_a_run_has_from_another_folder_are_refused(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    for name in ("sub/a.jpg", "b.jpg"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(picture(len(name)))
    for known, given in ((photos, photos / "sub"), (photos / "sub", photos)):
        with pytest.raises(ChangedError, match=r"the run has .*sub/a\.jpg already, from another folder"):
            make_plan([str(given)], InputSettings(), known=known_of(known))


def test_a_folder_that_grew_by_a_broken_file_only_is_still_an_input(lists: Path) -> None:
    known = known_of(lists)
    (lists / "d.parquet").write_bytes(b"PAR1")
    (chunk,) = make_plan([str(lists)], InputSettings(), known=known).chunks
    assert read(chunk)["reason"].to_pylist() == ["bad_container"]

"""select: policies, decisions/ and corpus/."""

import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from capfilt.core import schema
from capfilt.core.chunks import Chunk, Part
from capfilt.core.config import SelectSettings
from capfilt.core.errors import ConfigError, IntegrityError
from capfilt.ledger.joined import CaptionsReader, captions_schema
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.selection.corpus import corpus_schema, corpus_table
from capfilt.pipelines.selection.policy import read_policy
from capfilt.pipelines.selection.select import Selection, select
from capfilt.pipelines.stages.commit import commit
from hand_made_run import Books, make_chunk, make_rows


def fates(captions: pa.Table, threshold: float) -> dict[tuple[str, int], tuple[bool, str]]:
    """blip in plain Python, for candidates that all have an itm."""
    return {
        (row["uid"], row["candidate"]): (
            row["itm"] >= threshold,
            f"itm {'>=' if row['itm'] >= threshold else '<'} {threshold}",
        )
        for row in captions.to_pylist()
    }


def read(books: Books, table: str) -> pa.Table:
    return pq.read_table(books.ledger.folder.full(table))


def files(books: Books, *tables: str) -> dict[str, bytes]:
    root = Path(books.ledger.folder.path)
    found = (path for name in tables for path in (root / name).iterdir() if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


def test_decisions_are_in_the_order_of_captions(full_books: Books) -> None:
    select(full_books.ledger.folder, SelectSettings())
    for chunk in ("000000", "000001", "000002"):
        captions, decisions = (
            read(full_books, f"captions/{chunk}.parquet"),
            read(full_books, f"decisions/{chunk}.parquet"),
        )
        assert decisions.schema.equals(schema.DECISIONS)
        assert decisions.select(["uid", "candidate"]).equals(captions.select(["uid", "candidate"]))
        found = {(d["uid"], d["candidate"]): (d["keep"], d["reason"]) for d in decisions.to_pylist()}
        assert found == fates(captions, 0.5)


def test_corpus_holds_the_kept_texts_best_first(full_books: Books) -> None:
    result = select(full_books.ledger.folder, SelectSettings(threshold=0.25))
    captions, images, corpus = read(full_books, "captions"), read(full_books, "images"), read(full_books, "corpus")
    by_uid: dict[str, list[dict[str, Any]]] = {}
    for row in captions.to_pylist():
        if row["itm"] >= 0.25:
            by_uid.setdefault(row["uid"], []).append(row)
    assert any(len(kept) == 2 for kept in by_uid.values())
    assert corpus["uid"].to_pylist() == [uid for uid in images["uid"].to_pylist() if uid in by_uid]
    facts = {row["uid"]: row for row in images.to_pylist()}
    for row in corpus.to_pylist():
        kept = sorted(by_uid[row["uid"]], key=lambda item: (-item["itm"], item["candidate"]))
        names = ("text", "source", "candidate", "box", "itm", "itc")
        assert row["captions"] == [{name: item[name] for name in names} for item in kept]
        assert row["text"] == kept[0]["text"]
        assert [row[name] for name in ("image", "width", "height")] == [
            facts[row["uid"]][name] for name in ("image", "width", "height")
        ]
    kept_texts = sum(map(len, by_uid.values()))
    assert result.images == len(corpus)
    assert sum(result.kept.values()) == kept_texts
    assert sum(result.dropped.values()) == len(captions) - kept_texts
    assert set(result.kept) <= {"web", "synthetic"}


def test_the_text_of_an_image_is_about_all_of_it_where_one_is() -> None:
    """Three images: a region first, regions alone, the whole image alone."""
    box, uids = [0.0, 0.0, 0.5, 0.5], ["a", "a", "a", "b", "b", "c"]
    rows = {"uid": uids, "source": ["web"] * 6, "candidate": [0, 1, 2, 0, 1, 0], "text": list("012345")}
    rows |= {"box": pa.array([box, None, None, box, box, None], schema.BOX)}
    decisions = pa.table({"rank": [1, 3, 2, 2, 1, 1], "keep": [True] * 6})
    image = pa.array([{"bytes": None, "path": f"{uid}.jpg"} for uid in "abc"], schema.IMAGE)
    images = pa.table({"uid": list("abc"), "image": image, "width": [8] * 3, "height": [8] * 3})
    captions = pa.table(rows).cast(pa.schema([schema.captions_schema(()).field(name) for name in rows]))
    assert corpus_table(images, captions, decisions)["text"].to_pylist() == ["2", "4", "5"]


def test_a_run_of_one_judge_from_before_boxes_keeps_its_score(full_books: Books) -> None:
    ledger = full_books.ledger
    for chunk in ledger.committed():
        place = ledger.folder.full(f"captions/{chunk}.parquet")
        pq.write_table(pq.read_table(place).drop_columns(["box", "itc"]), place)
    assert captions_schema(ledger).names == [*schema.captions_schema(()).names, "itm"]
    captions = CaptionsReader(ledger).read("000000")
    assert captions["box"].null_count == len(captions) > captions["itm"].null_count


def test_a_chunk_with_nothing_kept_has_an_empty_corpus_file(full_books: Books) -> None:
    assert select(full_books.ledger.folder, SelectSettings(threshold=2.0)).images == 0
    wanted = corpus_schema(captions_schema(full_books.ledger))
    for chunk in ("000000", "000001", "000002"):
        corpus = read(full_books, f"corpus/{chunk}.parquet")
        assert corpus.num_rows == 0
        assert corpus.schema.names == wanted.names


def test_a_run_without_any_image(tmp_path: Path) -> None:
    chunk = Chunk("000000", (Part("csv", "/data/list.csv", "list.csv", 2, 1, {}),))
    ledger = Ledger.at(tmp_path / "dead")
    commit(make_rows(chunk).drop_columns("candidates"), chunk, ledger.folder, "5" * 64)
    assert select(ledger.folder, SelectSettings()) == Selection({}, {}, 0)
    assert pq.read_table(ledger.folder.full("corpus/000000.parquet")).num_rows == 0


def test_references_leave_the_bytes_out(full_books: Books) -> None:
    whole = select(full_books.ledger.folder, SelectSettings())
    wanted = read(full_books, "corpus").drop_columns("image").to_pylist()
    assert select(full_books.ledger.folder, SelectSettings(), "reference") == whole
    corpus = read(full_books, "corpus")
    assert corpus.drop_columns("image").to_pylist() == wanted
    paths = {row["image"]["path"] for row in read(full_books, "images").to_pylist()}
    assert all(row["image"]["bytes"] is None and row["image"]["path"] in paths for row in corpus.to_pylist())


def test_again_does_nothing_and_another_threshold_decides_again(full_books: Books) -> None:
    folder = full_books.ledger.folder
    first = select(folder, SelectSettings())
    stamps = {name: os.stat(folder.full(name)).st_mtime_ns for name in files(full_books, "corpus", "decisions")}
    before = files(full_books, "corpus", "decisions", ".")
    assert select(folder, SelectSettings()) == first
    assert {name: os.stat(folder.full(name)).st_mtime_ns for name in stamps} == stamps
    other = select(folder, SelectSettings(threshold=0.2))
    assert sum(other.kept.values()) > sum(first.kept.values())
    assert select(folder, SelectSettings()) == first
    assert files(full_books, "corpus", "decisions", ".") == before


def test_a_lost_file_is_made_again(full_books: Books) -> None:
    folder = full_books.ledger.folder
    select(folder, SelectSettings())
    before = files(full_books, "corpus", "decisions")
    folder.delete("corpus/000001.parquet")
    select(folder, SelectSettings())
    assert files(full_books, "corpus", "decisions") == before


def test_selection_toml_tells_what_was_decided(full_books: Books) -> None:
    result = select(full_books.ledger.folder, SelectSettings(threshold=0.2))
    told = tomllib.loads(full_books.ledger.folder.read("selection.toml").decode())
    assert (told["policy"], told["images"], told["name"]) == ("blip", "bytes", "")
    assert told["parameters"] == SelectSettings(threshold=0.2).model_dump(mode="json", exclude={"policy"})
    assert told["sha256"] == read_policy("blip").digest
    assert told["commits"] == full_books.ledger.fingerprint()
    assert Selection(**told["result"]) == result


GOOD = "SELECT uid, candidate, true AS keep, candidate + 1 AS rank, 'all' AS reason FROM captions"


def policy(tmp_path: Path, sql: str) -> SelectSettings:
    path = tmp_path / "mine.sql"
    path.write_text(sql)
    return SelectSettings(policy=str(path))


def test_a_policy_of_ones_own(tmp_path: Path, full_books: Books) -> None:
    result = select(full_books.ledger.folder, policy(tmp_path, f"-- all of them;\n{GOOD} -- and so on;\n;\n"))
    assert (result.kept, result.dropped, result.images) == ({"synthetic": 13, "web": 13}, {}, 13)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        (f"{GOOD} WHERE candidate = 0", "leaves candidates out, such as candidate 1 of image"),
        (f"{GOOD} UNION ALL {GOOD}", "decides candidates more than once"),
        (
            f"{GOOD} UNION ALL SELECT '{'0' * 32}', 5, true, 1, 'y'",
            "makes candidates up, such as candidate 5 of image 000",
        ),
        (f"{GOOD} UNION ALL SELECT 'x', 0, true, 1, 'y'", "Could not convert string 'x' to UUID"),
        (f"{GOOD} WHERE candidate = 0 UNION ALL SELECT '{'0' * 32}', 0, true, 1, 'y'", "leaves candidates out"),
        (GOOD.replace("true", "NULL"), "leaves keep or reason empty"),
        (GOOD.replace("true", "false"), "must rank kept candidates, and only them"),
        (GOOD.replace("candidate + 1", "NULL"), "must rank kept candidates, and only them"),
        (GOOD.replace("candidate + 1", "candidate"), "must rank the kept candidates of an image 1, 2, 3"),
        (GOOD.replace("candidate + 1", "1"), "must rank the kept candidates of an image 1, 2, 3"),
        (GOOD.replace(" AS reason", " AS why"), "gives the columns uid, candidate, keep, rank, why; expected uid"),
        (GOOD.replace("'all' AS", "'all' AS extra, 'x' AS"), "gives the columns"),
        (GOOD.replace("true", "'maybe'"), "Could not convert string 'maybe' to BOOL"),
        (GOOD.replace("candidate + 1", "clip"), '"clip" not found'),
        (f"{GOOD} WHERE itm > $treshold", r"parameter \$treshold is not a setting of \[select\]"),
        (f"{GOOD}; {GOOD}", "must be one SELECT"),
        ("DELETE FROM captions", "must be one SELECT"),
        ("SELEC", "syntax error"),
        ("", "must be one SELECT"),
        (GOOD.replace("captions", "read_parquet('/etc/passwd')"), "file system operations are disabled"),
    ],
)
def test_a_policy_that_does_not_decide_everything_once(
    tmp_path: Path, full_books: Books, sql: str, message: str
) -> None:
    select(full_books.ledger.folder, SelectSettings())
    before = files(full_books, "corpus", "decisions", ".")
    with pytest.raises(ConfigError, match=message) as caught:
        select(full_books.ledger.folder, policy(tmp_path, sql))
    assert "mine.sql" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(full_books, "corpus", "decisions", ".") == before


@pytest.mark.parametrize("name", ["nosuch", "nosuch.sql", "/etc/passwd", ""])
def test_an_unknown_policy(full_books: Books, name: str) -> None:
    with pytest.raises(ConfigError, match=r"select\.policy = .* is neither a \.sql file nor one of: all, balance"):
        select(full_books.ledger.folder, SelectSettings(policy=name))


def test_an_image_in_two_chunks_raises(
    tmp_path: Path,
) -> None:
    one = make_chunk(0)
    two = Chunk("000001", one.parts)
    folder = Ledger.at(tmp_path).folder
    for chunk in (one, two):
        commit(make_rows(chunk), chunk, folder, "5" * 64)
    with pytest.raises(IntegrityError, match="is committed by two chunks"):
        select(folder, SelectSettings())


def test_datasets_opens_the_corpus(full_books: Books, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    select(full_books.ledger.folder, SelectSettings())
    path = full_books.ledger.folder.full("corpus/*.parquet")
    loaded = datasets.load_dataset("parquet", data_files=path, split="train", cache_dir=str(tmp_path / "cache"))
    assert isinstance(loaded.features["image"], datasets.Image)
    row = loaded[0]
    assert isinstance(row["image"], Image.Image)
    assert row["captions"][0]["text"] == row["text"]


SELECT_FOREVER = """
import sys
from capfilt.core.config import SelectSettings
from capfilt.pipelines.selection.select import select
from capfilt.core.storage import Folder
folder = Folder.at(sys.argv[1])
print("go", flush=True)
while True:
    for threshold in (0.2, 0.6):
        select(folder, SelectSettings(threshold=threshold))
"""


@pytest.mark.slow
def test_a_killed_selection_is_not_taken_for_a_whole_one(full_books: Books) -> None:
    """Whenever the kill comes: selection.toml is there = every file belongs to it; and the next run ends the same."""
    folder = full_books.ledger.folder
    wanted = {}
    for threshold in (0.2, 0.6):
        select(folder, SelectSettings(threshold=threshold))
        wanted[threshold] = files(full_books, "corpus", "decisions")
    for round_ in range(2):
        command = [sys.executable, "-c", SELECT_FOREVER, folder.path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            time.sleep(0.1 + 0.057 * round_)
            other.send_signal(signal.SIGKILL)
        told = full_books.ledger.selection()
        whole = {name: data for name, data in files(full_books, "corpus", "decisions").items() if ".tmp-" not in name}
        if told:
            assert whole == wanted[told["parameters"]["threshold"]]
    select(folder, SelectSettings(threshold=0.2))
    whole = {name: data for name, data in files(full_books, "corpus", "decisions").items() if ".tmp-" not in name}
    assert whole == wanted[0.2]


def test_duckdb_of_the_program_that_selects_is_left_alone(full_books: Books) -> None:
    asked = duckdb.execute("SELECT * FROM range(5000)")  # of the module's connection, half read
    assert asked.fetchone() == (0,)
    select(full_books.ledger.folder, SelectSettings(banned=("nothing like this",)))
    assert asked.fetchone() == (1,)
    asked.fetchall()

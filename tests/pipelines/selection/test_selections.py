"""Selections beside one another: names, what changes between two, dry runs, and kills in the middle."""

import json
import math
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capfilt.core import schema
from capfilt.core.config import SelectSettings
from capfilt.core.errors import ConfigError
from capfilt.core.storage import Folder
from capfilt.ledger.status import status
from capfilt.pipelines.query import run_query
from capfilt.pipelines.selection.diff import ANY, EXAMPLES, Diff, compare, moves
from capfilt.pipelines.selection.scores import KNOTS
from capfilt.pipelines.selection.select import select, settings_for
from hand_made_run import Books

STRICT, LOOSE = SelectSettings(threshold=0.6), SelectSettings(threshold=0.2)


def bytes_of(books: Books, *tables: str) -> dict[str, bytes]:
    """Every file under the run's folder, or under some of its tables, unfinished ones left out."""
    root = Path(books.ledger.folder.path)
    found = (path for name in tables or (".",) for path in (root / name).rglob("*") if path.is_file())
    return {str(path.relative_to(root)): path.read_bytes() for path in found if not path.name.startswith(".tmp-")}


def stamps(books: Books, *tables: str) -> dict[str, int]:
    """When each file was written."""
    root = Path(books.ledger.folder.path)
    return {name: os.stat(root / name).st_mtime_ns for name in bytes_of(books, *tables)}


def test_a_named_selection_is_kept_and_becomes_current_again(full_books: Books) -> None:
    folder = full_books.ledger.folder
    strict = select(folder, STRICT, name="strict")
    wanted = bytes_of(full_books, "decisions", "corpus")
    own = {
        name.removeprefix("selections/strict/"): data
        for name, data in bytes_of(full_books, "selections/strict").items()
    }
    assert own == {name: data for name, data in wanted.items() if name.startswith("decisions/")}
    loose = select(folder, LOOSE, name="loose")
    assert loose.images > strict.images
    assert full_books.ledger.selections() == ["loose", "strict"]
    assert bytes_of(full_books, "decisions", "corpus") != wanted
    written = stamps(full_books, "selections")
    assert select(folder, settings_for(full_books.ledger, name="strict"), name="strict") == strict
    assert bytes_of(full_books, "decisions", "corpus") == wanted
    assert stamps(full_books, "selections") == written
    assert full_books.ledger.selection()["name"] == "strict"
    assert full_books.ledger.selection("loose")["result"]["images"] == loose.images


def test_a_named_selection_is_not_decided_anew(full_books: Books, tmp_path: Path) -> None:
    """What its decisions say counts; the policy is not asked."""
    folder = full_books.ledger.folder
    select(folder, STRICT, name="strict")
    select(folder, LOOSE)
    for name in folder.names("selections/strict/decisions"):
        table = pq.read_table(pa.BufferReader(folder.read(name)))
        reason = pa.array(["as it was"] * len(table))
        table = table.set_column(table.column_names.index("reason"), schema.DECISIONS.field("reason"), reason)
        pq.write_table(table, folder.full(name))
    select(folder, STRICT, name="strict")
    assert set(pq.read_table(folder.full("decisions"))["reason"].to_pylist()) == {"as it was"}


@pytest.mark.parametrize("how", ["commits", "files", "settings"])
def test_a_named_selection_is_decided_anew_where_it_must(full_books: Books, how: str) -> None:
    folder = full_books.ledger.folder
    select(folder, STRICT, name="one")
    wanted = bytes_of(full_books, "selections")
    if how == "files":
        folder.delete("selections/one/decisions/000001.parquet")
    if how == "commits":
        toml = folder.read("selections/one.toml").replace(full_books.ledger.fingerprint().encode(), b"0" * 64)
        folder.write("selections/one.toml", toml)
    if how == "settings":
        select(folder, LOOSE, name="one")
        assert bytes_of(full_books, "selections") != wanted
    select(folder, STRICT, name="one")
    assert bytes_of(full_books, "selections") == wanted


@pytest.mark.slow
def test_other_probabilities_are_another_selection(full_books: Books) -> None:
    folder, chosen = full_books.ledger.folder, SelectSettings(calibrated=True)
    kept = []
    for step in (0.5, 0.9, 0.5):
        knots = {"x": [step, step + 0.01], "y": [0.0, 1.0]}
        folder.write(KNOTS, json.dumps({"itm": {"all": knots}}).encode())
        kept.append(select(folder, chosen, name="likely").kept)
        assert kept[-1] == select(folder, chosen).kept
    assert kept[0] == kept[2] != kept[1]


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "", " ", "a.toml", "x" * 65, "-x", "ümlaut", "a\n"])
def test_odd_names_are_refused_before_anything_is_written(full_books: Books, name: str) -> None:
    before = bytes_of(full_books)
    if name:
        with pytest.raises(ConfigError, match="--name"):
            select(full_books.ledger.folder, STRICT, name=name)
        with pytest.raises(ConfigError, match="--name"):
            settings_for(full_books.ledger, name=name)
        assert bytes_of(full_books) == before
    else:
        select(full_books.ledger.folder, STRICT, name=name)
        assert full_books.ledger.selections() == []


def test_settings_are_those_of_the_name_the_run_or_the_recipe(full_books: Books, tmp_path: Path) -> None:
    ledger = full_books.ledger
    recipe = tmp_path / "own.toml"
    recipe.write_text("[select]\npolicy = 'quantile'\nfraction = 0.1\n")
    select(ledger.folder, SelectSettings(threshold=0.6, min_words=2, judges=("itm", "itc")), name="one")
    assert settings_for(ledger) == SelectSettings()
    assert settings_for(ledger, overrides=("select.threshold=0.7",)) == SelectSettings(threshold=0.7)
    assert settings_for(ledger, str(recipe), ("select.judge=itc",)) == SelectSettings(
        policy="quantile", fraction=0.1, judge="itc"
    )
    assert settings_for(ledger, name="one") == SelectSettings(threshold=0.6, min_words=2, judges=("itm", "itc"))
    assert settings_for(ledger, None, ("select.threshold=0.9",), "one").threshold == 0.9
    assert settings_for(ledger, name="new") == SelectSettings()
    for change in ("caption.n=3", "select", "output.images=reference"):
        with pytest.raises(ConfigError, match=r"--set .*only settings of \[select\] can change"):
            settings_for(ledger, overrides=(change,))
    with pytest.raises(ConfigError, match=r"unknown setting select\.treshold; known: .*threshold"):
        settings_for(ledger, overrides=("select.treshold=1",))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", "one"])
def test_a_dry_run_writes_nothing(full_books: Books, name: str) -> None:
    folder = full_books.ledger.folder
    for ready in (False, True):
        before, written = bytes_of(full_books), stamps(full_books)
        told, diff = select(folder, LOOSE, name=name, dry_run=True), Diff()
        assert select(folder, LOOSE, name=name, dry_run=True, diff=diff) == told
        assert (bytes_of(full_books), stamps(full_books)) == (before, written)
        if not ready:
            select(folder, STRICT, name=name)
    assert diff.gained
    assert select(folder, LOOSE, name=name) == told


def test_files_that_would_not_change_are_not_written(full_books: Books) -> None:
    folder = full_books.ledger.folder
    select(folder, SelectSettings(threshold=0.6))
    written = stamps(full_books, "decisions", "corpus")
    select(folder, SelectSettings(threshold=0.61))  # other reasons, no other texts
    again = stamps(full_books, "decisions", "corpus")
    assert {name for name in written if again[name] != written[name]} == {
        f"decisions/00000{n}.parquet" for n in range(3)
    }
    select(folder, SelectSettings(threshold=0.61), "reference")  # no other decisions, but other images
    last = stamps(full_books, "decisions", "corpus")
    assert {name for name in again if last[name] != again[name]} == {f"corpus/00000{n}.parquet" for n in range(3)}


def test_only_the_chunks_whose_texts_change_get_a_new_corpus_file(tmp_path: Path, full_books: Books) -> None:
    folder = full_books.ledger.folder
    (uid, *_) = pq.read_table(folder.full("captions/000001.parquet"))["uid"].to_pylist()
    own = tmp_path / "own.sql"
    own.write_text("SELECT uid, candidate, true AS keep, candidate + 1 AS rank, '' AS reason FROM captions")
    select(folder, SelectSettings(policy=str(own)))
    written = stamps(full_books, "decisions", "corpus")
    own.write_text(
        f"SELECT uid, candidate, uid <> '{uid}' AS keep, CASE WHEN uid <> '{uid}' THEN candidate + 1 END AS rank,"
        " '' AS reason FROM captions"
    )
    select(folder, SelectSettings(policy=str(own)))
    again = stamps(full_books, "decisions", "corpus")
    changed = {name for name in written if written[name] != again[name]}
    assert changed == {"decisions/000001.parquet", "corpus/000001.parquet"}


@pytest.mark.slow
def test_queries_see_named_selections(full_books: Books) -> None:
    folder = full_books.ledger.folder
    assert run_query(folder, "SELECT * FROM selections").column_names == ["name", *schema.DECISIONS.names]
    strict, loose = select(folder, STRICT, name="strict"), select(folder, LOOSE, name="loose")
    (folder.delete("selections/gone.toml"), folder.write("selections/gone/decisions/000000.parquet", b"half"))
    sql = "SELECT name, count(*) AS texts, count(*) FILTER (keep) AS kept FROM selections GROUP BY name ORDER BY name"
    assert run_query(folder, sql).to_pylist() == [
        {"name": "loose", "texts": 26, "kept": sum(loose.kept.values())},
        {"name": "strict", "texts": 26, "kept": sum(strict.kept.values())},
    ]
    sql = "SELECT text FROM selections NATURAL JOIN captions WHERE name = 'strict' AND keep ORDER BY ALL"
    wanted = [row["text"] for row in pq.read_table(folder.full("captions")).to_pylist() if row["itm"] >= 0.6]
    assert [row["text"] for row in run_query(folder, sql).to_pylist()] == sorted(wanted)


def test_status_does_not_mind_names(full_books: Books) -> None:
    folder = full_books.ledger.folder
    select(folder, STRICT)
    before = status(folder)
    select(folder, STRICT, name="strict")
    assert status(folder) == before
    assert before.selected


CAPTIONS = schema.captions_schema(("itm", "clip"))
texts = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["web", "synthetic"]),
        st.none() | st.floats(0, 1, width=32),
        st.booleans(),
        st.booleans(),
    ),
    max_size=30,
)


def tables_of(rows: list[Any]) -> tuple[pa.Table, pa.Table, pa.Table]:
    """captions/, the decisions before and those now."""
    numbers: Counter[int] = Counter()
    captions, before, now = [], [], []
    for image, source, itm, was, is_ in sorted(rows, key=lambda row: row[0]):
        head = {"uid": f"{image:032x}", "candidate": numbers[image]}
        numbers[image] += 1
        captions.append({**head, "source": source, "text": "a text", "round": 0, "flags": [], "itm": itm, "clip": 0.5})
        before.append({**head, "keep": was, "rank": None, "reason": "before"})
        now.append({**head, "keep": is_, "rank": None, "reason": "now"})
    return (
        pa.Table.from_pylist(captions, schema=CAPTIONS),
        pa.Table.from_pylist(before, schema=schema.DECISIONS),
        pa.Table.from_pylist(now, schema=schema.DECISIONS),
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(texts, texts)
def test_the_diff_is_what_plain_python_counts(first: list[Any], second: list[Any]) -> None:
    diff, rows = Diff(), []
    for chunk, part in (("000000", first), ("000001", [(image + 4, *rest) for image, *rest in second])):
        diff.add(compare(chunk, *tables_of(part)))
        rows += part
    for source in ("web", "synthetic", ANY):
        own = [row for row in rows if source in (ANY, row[1])]
        gained = [row for row in own if row[4] and not row[3]]
        lost = [row for row in own if row[3] and not row[4]]
        told = moves(diff.texts, source)
        before, after = sum(row[3] for row in own), sum(row[4] for row in own)
        assert (told.before, told.gained, told.lost, told.after) == (before, len(gained), len(lost), after)
        assert told.dropped == len(own) - after
        images = [{row[0] for row in own if row[side]} for side in (3, 4)]
        told = moves(diff.images, source)
        assert (told.before, told.after) == tuple(map(len, images))
        assert (told.gained, told.lost) == (len(images[1] - images[0]), len(images[0] - images[1]))
        for now, side in ((False, 3), (True, 4)):
            doubts = [1 - row[2] for row in own if row[side] and row[2] is not None]
            wrong = diff.expected_wrong(source, now)
            assert wrong is None if not doubts else math.isclose(wrong or 0, sum(doubts) / len(doubts), abs_tol=1e-9)
    for examples, own in (
        (diff.gained, [r for r in rows if r[4] > r[3]]),
        (diff.lost, [r for r in rows if r[3] > r[4]]),
    ):
        assert len(examples) == min(len(own), EXAMPLES)
        assert all(example.reason == "now" and set(example.scores) == {"itm", "clip"} for _, example in examples)
        left = Counter((row[1], row[2]) for row in own)
        left.subtract((example.source, example.scores["itm"]) for _, example in examples)
        assert min(left.values(), default=0) >= 0


def test_examples_are_drawn_from_all_chunks_and_the_same_each_time() -> None:
    rows = [(image, "web", image / 1000, False, True) for image in range(1000)]
    drawn = []
    for _ in range(2):
        diff = Diff()
        for number in range(10):
            diff.add(compare(f"{number:06d}", *tables_of(rows[100 * number : 100 * number + 100])))
        drawn.append(diff.gained)
    assert drawn[0] == drawn[1]
    assert len({int(example.scores["itm"] * 10) for _, example in drawn[0]}) > 2


def test_candidates_that_were_not_decided_before_count_as_dropped() -> None:
    rows = [(image, "web", 0.5, True, True) for image in range(4)]
    captions, before, now = tables_of(rows)
    for old, kept in ((None, 0), (before.slice(1), 3), (before.take([3, 1, 0]), 3), (before.slice(0, 0), 0)):
        told = moves(compare("000000", captions, old, now).texts, "web")
        assert (told.before, told.gained, told.after) == (kept, 4 - kept, 4)


def test_without_itm_nothing_is_estimated() -> None:
    captions, before, now = tables_of([(0, "web", 0.5, True, True)])
    diff = compare("000000", captions.drop_columns("itm"), before, now)
    assert diff.expected_wrong(ANY) is None


def test_the_estimate_stands_in_selection_toml(full_books: Books) -> None:
    result = select(full_books.ledger.folder, STRICT)
    told = tomllib.loads(full_books.ledger.folder.read("selection.toml").decode())["result"]["expected_wrong"]
    kept = [row for row in pq.read_table(full_books.ledger.folder.full("captions")).to_pylist() if row["itm"] >= 0.6]
    for source, share in result.expected_wrong.items():
        doubts = [1 - row["itm"] for row in kept if row["source"] == source]
        assert math.isclose(share, sum(doubts) / len(doubts), abs_tol=1e-6)
    assert told == result.expected_wrong != {}


SELECT_FOREVER = """
import sys
from capfilt.core.config import SelectSettings
from capfilt.pipelines.selection.select import select
from capfilt.core.storage import Folder
folder = Folder.at(sys.argv[1])
print("go", flush=True)
while True:
    for threshold in (0.2, 0.6):
        select(folder, SelectSettings(threshold=threshold), name="one")
"""


def test_while_a_selection_is_written_there_is_none(full_books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a kill in between would leave a .toml that speaks of a mixture of two."""
    folder, write = full_books.ledger.folder, Folder.write
    select(folder, SelectSettings(threshold=0.2), name="one")

    def dying(self: Folder, name: str, data: bytes) -> None:
        assert not name.startswith("decisions/"), "killed here"
        write(self, name, data)

    monkeypatch.setattr(Folder, "write", dying)
    with pytest.raises(AssertionError, match="killed here"):
        select(folder, SelectSettings(threshold=0.6), name="one")
    assert not folder.exists("selection.toml")
    assert not folder.exists("selections/one.toml")


@pytest.mark.slow
def test_a_killed_selection_is_mended_by_the_next(full_books: Books) -> None:
    """Whenever the kill comes: a .toml is there = all its files belong to it; and the next selection ends the same."""
    folder = full_books.ledger.folder
    wanted = {}
    for threshold in (0.2, 0.6):
        select(folder, SelectSettings(threshold=threshold), name="one")
        wanted[threshold] = bytes_of(full_books)
    for round_ in range(3):
        command = [sys.executable, "-c", SELECT_FOREVER, folder.path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            time.sleep(0.1 + 0.037 * round_)
            other.send_signal(signal.SIGKILL)
        found = bytes_of(full_books)
        for name, tables in (("", ("decisions/", "corpus/")), ("one", ("selections/one/",))):
            if made := full_books.ledger.selection(name):
                whole = wanted[made["parameters"]["threshold"]]
                assert {f: d for f, d in found.items() if f.startswith(tables)} == {
                    f: d for f, d in whole.items() if f.startswith(tables)
                }
    for threshold in (0.2, 0.6):
        select(folder, SelectSettings(threshold=threshold), name="one")
        assert bytes_of(full_books) == wanted[threshold]

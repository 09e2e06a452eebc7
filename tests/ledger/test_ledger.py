"""The ledger: plan, changes, balance, lock and status, on real files and real processes."""

import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capfilt.core import config
from capfilt.core.chunks import Chunk, Part
from capfilt.core.config import Recipe
from capfilt.core.errors import BusyError, ChangedError, InputError, IntegrityError
from capfilt.core.schema import COMMITS
from capfilt.core.serialization import canonical_json, parquet_bytes, to_toml
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.session import Session, read_sessions, save_session
from capfilt.ledger.status import status
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.selection.select import select
from command_line import invoke
from hand_made_run import Books, candidate, make_rows

INPUTS = [("list.csv", 1234, "d1"), ("more.csv", 99, "d2")]
MODELS = {"captioner demo-captioner": "aa", "filter demo-filter": "bb"}

plain = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    plain | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8
)
scalars = st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text()
flat_tables = st.lists(st.dictionaries(st.text(), scalars, min_size=1), min_size=1)
toml_tables = st.recursive(
    st.dictionaries(st.text(), scalars | st.lists(scalars) | flat_tables),
    lambda inner: st.dictionaries(st.text(), inner | scalars),
    max_leaves=6,
)


def part(where: dict[str, Any]) -> Part:
    return Part("csv", "/data/list.csv", "list.csv", 10, 5, where)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.text(), json_values))
def test_chunks_come_back_from_json(where: dict[str, Any]) -> None:
    chunk = Chunk("000007", (part(where), part({})))
    assert Chunk.from_json(chunk.to_json()) == chunk
    assert Part.from_json(chunk.parts[0].to_json()) == chunk.parts[0]
    assert chunk.rows == 10


def test_json_of_a_chunk_does_not_depend_on_the_order_of_keys() -> None:
    first, second = ({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert list(first) != list(second)
    assert part(first).to_json() == part(second).to_json()


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(toml_tables)
def test_toml_comes_back_from_tomllib(table: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(table).encode().decode()) == table


def test_toml_writes_out_what_utf8_cannot_hold() -> None:
    assert tomllib.loads(to_toml({"name": "odd\udcff.jpg"}).encode().decode()) == {"name": "odd\\udcff.jpg"}


def test_plan_comes_back(books: Books) -> None:
    again = Ledger.at(books.ledger.folder.location)
    assert again.planned
    assert again.read_plan() == books.chunks
    run = tomllib.loads(Path(books.ledger.folder.full("run.toml")).read_text())
    assert Recipe.model_validate(run["recipe"]) == books.recipe
    assert (run["rows"], run["chunks"], run["versions"], run["models"]) == (18, 3, {"torch": "2.15"}, MODELS)
    assert [tuple(item.values()) for item in run["inputs"]] == INPUTS


def test_plan_is_written_once(books: Books) -> None:
    with pytest.raises(ChangedError, match="already holds a plan"):
        books.plan()


def test_plan_that_is_not_run_tomls_is_refused(books: Books) -> None:
    books.ledger.folder.write("plan.parquet", parquet_bytes(pa.table({"chunk": [], "rows": [], "spec": []})))
    with pytest.raises(IntegrityError, match=r"plan\.parquet is not the plan"):
        books.ledger.read_plan()


def test_nothing_changed(books: Books) -> None:
    free = ("engine.workers=4", "engine.cpus=8", "engine.gpus=0", "engine.stall_minutes=1", "fetch.concurrency=3")
    books.ledger.check_unchanged(INPUTS, books.recipe, MODELS)
    books.ledger.check_unchanged(INPUTS, load_recipe("blip", free), MODELS)
    books.ledger.check_unchanged(INPUTS[::-1], load_recipe("blip", ("select.threshold=0.9",)), MODELS)
    unused = ("output.images=reference", "output.image_size=256", "output.encode_format=webp")
    books.ledger.check_unchanged(INPUTS, load_recipe("blip", unused), MODELS)


@pytest.mark.parametrize(
    ("inputs", "settings", "models", "limit", "message"),
    [
        (
            INPUTS,
            ("caption.n=3",),
            MODELS,
            None,
            "was planned with caption.n = 1, now 3: use another --out",
        ),
        (INPUTS, ("engine.batch=8",), MODELS, None, "was planned with engine.batch = 32, now 8"),
        (INPUTS, ("output.pixels=resized",), MODELS, None, "was planned with output.pixels = original, now resized"),
        (INPUTS, ("caption.prompt=a picture of",), MODELS, None, 'with caption.prompt = "", now a picture of'),
        (INPUTS, ("score.judges=['x']",), MODELS, None, 'with score.judges = ["demo-filter"], now ["x"]'),
        ([("list.csv", 12, "d1"), INPUTS[1]], (), MODELS, None, "input list.csv changed: size 1234 -> 12"),
        ([("list.csv", 1234, "dx"), INPUTS[1]], (), MODELS, None, "input list.csv changed: same size, other content"),
        (INPUTS[:1], (), MODELS, None, "was planned with input more.csv, which is not given now"),
        ([*INPUTS, ("z.csv", 1, "d")], (), MODELS, None, "was planned without input z.csv"),
        (INPUTS, (), {**MODELS, "filter demo-filter": "b2"}, None, "filter demo-filter: weights changed"),
        (INPUTS, (), {**MODELS, "shots four.parquet": "b2"}, None, "was planned without shots four.parquet"),
        (INPUTS, (), {"filter demo-filter": "bb"}, None, "was planned with captioner demo-captioner"),
        (INPUTS, (), {**MODELS, "filter x": "cc"}, None, "was planned without filter x"),
        (INPUTS, (), MODELS, 5, "was planned with --limit unset, now 5"),
    ],
)
def test_a_change_is_named_in_one_line(
    books: Books,
    inputs: list[tuple[str, int, str]],
    settings: tuple[str, ...],
    models: dict[str, str],
    limit: int | None,
    message: str,
) -> None:
    with pytest.raises(ChangedError) as caught:
        books.ledger.check_unchanged(inputs, load_recipe("blip", settings), models, limit)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert books.ledger.folder.location in str(caught.value)


def test_inputs_with_odd_names_stay_unchanged(tmp_path: Path, books: Books) -> None:
    odd = [("odd\udcff\x7f\n.csv", 5, "d")]
    ledger = Ledger.at(tmp_path / "odd")
    ledger.write_plan(books.chunks, odd, Recipe(), {}, {})
    Ledger.at(tmp_path / "odd").check_unchanged(odd, Recipe(), {})


def test_a_plan_older_than_a_setting_had_its_default(tmp_path: Path, books: Books) -> None:
    old = books.ledger.folder.read("run.toml").decode()
    assert "\nthreads = 0\n" in old
    books.ledger.folder.write("run.toml", old.replace("\nthreads = 0\n", "\n").encode())
    again = Ledger.at(books.ledger.folder.location)
    again.check_unchanged(INPUTS, books.recipe, MODELS)
    with pytest.raises(ChangedError, match=r"was planned with engine\.threads = 0, now 1"):
        again.check_unchanged(INPUTS, load_recipe("blip", ("engine.threads=1",)), MODELS)


def test_spec_digest_follows_what_decides_the_bytes(tmp_path: Path, books: Books) -> None:
    def digest(name: str, settings: tuple[str, ...], models: dict[str, str], chunk: int = 0) -> str:
        ledger = Ledger.at(tmp_path / name)
        ledger.write_plan(books.chunks, INPUTS, load_recipe("blip", settings), {"torch": name}, models)
        return ledger.spec_digest(books.chunks[chunk])

    base = digest("a", (), MODELS)
    assert base == digest("b", ("engine.workers=7", "select.threshold=0.1", "run.max_failures=1"), MODELS)
    assert base == books.ledger.spec_digest(books.chunks[0])
    others = [digest("c", ("caption.n=2",), MODELS), digest("d", (), {"x": "y"}), digest("e", (), MODELS, 1)]
    assert len({base, *others}) == 4


def test_every_section_is_either_free_or_matters(books: Books) -> None:
    """A new section of the recipe must be thought about."""
    assert set(books.recipe.model_dump()) - {"name", "about"} == {
        *("input", "fetch", "decode", "caption", "endpoint", "score", "engine"),
        *("select", "output", "run"),
    }
    assert issubclass(config.EngineSettings, config.Section)


def test_todo_is_the_plan_without_the_commits(books: Books) -> None:
    assert books.ledger.todo() == books.chunks
    books.commit(1)
    books.ledger.folder.write("commits/.tmp-123", b"half")
    assert books.ledger.committed() == {"000001"}
    assert [chunk.name for chunk in books.ledger.todo()] == ["000000", "000002"]


def test_whoever_has_the_lock_removes_what_killed_writers_left(books: Books) -> None:
    books.commit(1)
    books.ledger.folder.write("images/.tmp-123", b"half")
    with books.ledger.lock():
        assert not list(Path(books.ledger.folder.path).rglob(".tmp-*"))
    assert books.ledger.committed() == {"000001"}


def test_a_whole_run_balances(full_books: Books) -> None:
    full_books.ledger.balance()
    full_books.ledger.verify()
    assert full_books.ledger.records().column("chunk").to_pylist() == ["000000", "000001", "000002"]


def rewrite_commit(books: Books, **changes: Any) -> None:
    record = books.ledger.records().to_pylist()[1]
    table = pa.Table.from_pylist([{**record, **changes}], schema=COMMITS)
    books.ledger.folder.write("commits/000001.parquet", parquet_bytes(table))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": 7}, "7 rows, expected 6"),
        ({"images": 3}, "6 rows are not 3 images + 2 failures"),
        ({"reasons": [("dns", 1)]}, "the reasons do not add up to 2 failures"),
        ({"spec": "0" * 64}, "another spec"),
        ({"chunk": "000009"}, "commit 000009: is not in the plan"),
        ({"files": []}, "captions/000001.parquet is missing"),
    ],
)
def test_a_commit_that_does_not_fit_raises(full_books: Books, changes: dict[str, Any], message: str) -> None:
    rewrite_commit(full_books, **changes)
    with pytest.raises(IntegrityError, match=message.replace("+", r"\+")):
        full_books.ledger.balance()


def test_a_missing_file_raises(full_books: Books) -> None:
    full_books.ledger.folder.delete("failures/000002.parquet")
    with pytest.raises(IntegrityError, match=r"failures/000002\.parquet is missing"):
        full_books.ledger.balance()
    assert not status(full_books.ledger.folder).balanced


def put_other_rows(path: Path) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "uid", pa.array(["f" * 32] * len(table))), path)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 16
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "sizes_show_it"),
    [
        (flip_a_bit, False),
        (put_other_rows, True),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), True),
        (lambda path: pq.write_table(pq.read_table(path).slice(1), path), True),
        (lambda path: path.write_bytes(b""), True),
    ],
)
def test_damaged_files_are_found(full_books: Books, damage: Callable[[Path], None], sizes_show_it: bool) -> None:
    damage(Path(full_books.ledger.folder.full("captions/000001.parquet")))
    if sizes_show_it:
        with pytest.raises(IntegrityError, match=r"captions/000001\.parquet has \d+ bytes, committed were"):
            full_books.ledger.balance()
        assert not status(full_books.ledger.folder).balanced
    else:
        full_books.ledger.balance()
    with pytest.raises(IntegrityError, match=r"captions/000001\.parquet"):
        full_books.ledger.verify()


def test_a_file_without_a_recorded_size_is_held_against_its_digest_alone(full_books: Books) -> None:
    """Records of version 0.1 hold no sizes."""
    rewrite_commit(full_books, sizes=None)
    full_books.ledger.balance()
    flip_a_bit(Path(full_books.ledger.folder.full("captions/000001.parquet")))
    with pytest.raises(IntegrityError, match="not the committed ones"):
        full_books.ledger.verify()


HOLD = """
import sys, time
from capfilt.ledger.ledger import Ledger
with Ledger.at(sys.argv[1]).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_live_driver_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    ledger = Ledger.at(tmp_path / "out")
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "out")], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(BusyError, match=f"is being written by process {other.pid} on ") as caught, ledger.lock():
            pass
        assert "\n" not in str(caught.value)
        other.send_signal(signal.SIGKILL)
        other.wait()
    with ledger.lock(), pytest.raises(BusyError), Ledger.at(tmp_path / "out").lock():
        pass
    with ledger.lock():
        pass


def test_status_of_a_run_in_the_middle(books: Books) -> None:
    books.commit(0)
    books.commit(2)
    save_session(books.ledger.folder, Session("2026-01-01T00:00:00+00:00", "2026-01-01T00:01:00+00:00", 5, {}))
    number = save_session(books.ledger.folder, Session("2026-01-02T00:00:00+00:00", "2026-01-02T00:00:00+00:00", 0, {}))
    assert status(books.ledger.folder).rate is None
    save_session(
        books.ledger.folder, Session("2026-01-02T00:00:00+00:00", "2026-01-02T00:00:06+00:00", 12, {"a": 1}), number
    )
    seen = status(books.ledger.folder)
    assert (seen.chunks_done, seen.chunks_left, seen.rows_planned, seen.rows_done) == (2, 1, 18, 12)
    assert (seen.images, seen.failures) == (9, {"http_404": 2, "timeout": 1})
    assert seen.captions == {"synthetic": 9, "web": 9}
    assert seen.rate == 2.0
    assert (seen.complete, seen.balanced, seen.problem, seen.selected) == (False, True, "", False)
    assert [session.rows for session in read_sessions(books.ledger.folder)] == [5, 12]


def test_status_says_how_much_of_the_time_models_worked(books: Books) -> None:
    """Of 10 s of work, 6 in the model stages of one actor; no share where no model worked or none was timed."""
    when = "2026-01-01T00:00:00+00:00"
    seconds = {"fetch": 9.0, "caption": 4.5, "score": 1.5}
    assert Session(when, when, 5, seconds, working=10.0).busy(2) == 0.3
    assert Session(when, when, 5, seconds).busy(1) is None
    assert Session(when, when, 5, {"fetch": 9.0}, working=10.0).busy(1) is None
    save_session(books.ledger.folder, Session(when, when, 5, seconds, working=10.0))
    assert status(books.ledger.folder).busy == 0.6
    shown = invoke("status", books.ledger.folder.path)
    assert "busy:     model actors work 60.0 % of the time" in shown.output


def test_status_of_a_finished_run(full_books: Books) -> None:
    select(full_books.ledger.folder, config.SelectSettings())
    seen = status(full_books.ledger.folder)
    assert seen.images + sum(seen.failures.values()) == seen.rows_planned == seen.rows_done
    assert (seen.complete, seen.balanced, seen.selected) == (True, True, True)


def test_a_selection_is_old_once_there_are_more_commits(books: Books) -> None:
    books.commit(0)
    select(books.ledger.folder, config.SelectSettings())
    assert status(books.ledger.folder).selected
    books.commit(1)
    assert not status(books.ledger.folder).selected


def test_status_says_what_does_not_balance(full_books: Books) -> None:
    rewrite_commit(full_books, images=3)
    seen = status(full_books.ledger.folder)
    assert (seen.balanced, seen.captions) == (False, {})
    assert "6 rows are not 3 images + 2 failures" in seen.problem


def test_status_where_no_run_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run here"):
        status(Ledger.at(tmp_path).folder)


def test_parquet_bytes_do_not_depend_on_how_columns_are_cut() -> None:
    table = pa.table({"text": [f"text {number % 7}" for number in range(5000)], "n": range(5000)})
    pieces = pa.concat_tables([table.slice(start, 700) for start in range(0, 5000, 700)])
    assert pieces["n"].num_chunks > 1
    assert parquet_bytes(pieces) == parquet_bytes(table)


def test_stable_json_refuses_what_json_cannot_say() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_scores_that_are_no_numbers_are_counted(books: Books) -> None:
    odd = {0: float("nan"), 1: float("inf"), 3: None, 4: float("-inf")}  # rows of the first part of the first chunk
    for number in range(3):
        rows = make_rows(
            books.chunks[number], lambda row: [candidate(0, "a", odd.get(row, 0.5)), candidate(1, "b", 0.1, itc=0.2)]
        )
        books.commit(number, rows)
    stand = status(books.ledger.folder)
    assert stand.captions == {"synthetic": 13, "web": 13}
    assert stand.odd_scores == {"itm": 5, "itc": 5}  # rows 0, 1 and 4 stand in two files
    shown = invoke("status", books.ledger.folder.path).output
    assert "warning:  5 of 26 scores in itm are NaN or infinite: look at score.judges" in shown

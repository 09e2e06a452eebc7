"""`capfilt run NEW --out OUT --append`: inputs join a run, which ends as if it had had them from the start."""

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from capfilt.commands.annotate import annotate
from capfilt.commands.layer_work import layer_work
from capfilt.commands.retry import retry
from capfilt.commands.run import append, run
from capfilt.commands.verify import repair, verify
from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, IntegrityError, RunFailed
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status
from capfilt.pipelines.forget.forget import forget
from capfilt.pipelines.query import run_query
from capfilt.pipelines.stages.commit import write_chunk
from command_line import invoke
from pictures import picture
from staged_run import pairs, tree, write_pairs
from word_run import TABLES, WORDS, two_files, word_recipe


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return word_recipe()


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    return two_files(tmp_path)


def tables(out: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree(out).items() if name.split("/")[0] in TABLES}


def test_a_run_built_in_steps_has_the_bytes_of_one_built_at_once(
    inputs: tuple[Path, Path], tmp_path: Path, recipe: Recipe
) -> None:
    once, steps = tmp_path / "once", tmp_path / "steps"
    run([str(file) for file in inputs], str(once), recipe)
    annotate(str(once), [f"late={WORDS}"])
    append([str(inputs[0])], str(once))  # nothing new, but corpus/ gets the layer's column

    run([str(inputs[0])], str(steps), recipe)
    annotate(str(steps), [f"late={WORDS}"])
    first = tables(steps)
    grown = append([str(inputs[0]), str(inputs[1])], str(steps))
    assert (grown.chunks, grown.chunks_now, grown.notes) == (3, 1, ("1 of 2 inputs: the run has them already",))
    told = status(Ledger.at(steps).folder)
    assert (told.complete, told.selected, told.appended, told.layers[0].chunks_left) == (True, True, 1, 0)
    now = tables(steps)
    kept = {name: data for name, data in now.items() if name in first and name.split("/")[0] != "corpus"}
    assert kept == {name: data for name, data in first.items() if name.split("/")[0] != "corpus"}
    # Provenance differs by the run that it names, whose inputs were fewer; what is said does not.
    assert {n: d for n, d in now.items() if n != "layers/late.toml"} == {
        n: d for n, d in tables(once).items() if n != "layers/late.toml"
    }
    assert (append([str(inputs[1])], str(steps)).chunks_now, tables(steps)) == (0, now)


def test_an_interrupted_append_resumes_and_honors_what_was_forgotten(
    inputs: tuple[Path, Path], tmp_path: Path, recipe: Recipe
) -> None:
    out = tmp_path / "out"
    run([str(inputs[0])], str(out), recipe)
    url = pairs(18)[14].url
    assert url
    forget(Ledger.at(out).folder, [("url", url)])
    append([str(inputs[1])], str(out))
    whole = tables(out)
    assert status(Ledger.at(out).folder).failures["forgotten"] == 1
    (out / "commits" / "000002.parquet").unlink()  # as a driver leaves it that was killed before the record
    assert not status(Ledger.at(out).folder).complete
    assert run([str(inputs[0])], str(out), recipe).chunks_now == 1
    assert tables(out) == whole


def test_a_chunk_that_is_repaired_is_annotated_again(inputs: tuple[Path, Path], tmp_path: Path, recipe: Recipe) -> None:
    out = tmp_path / "out"
    run([str(inputs[0])], str(out), recipe)
    annotate(str(out), [f"late={WORDS}"])
    append([str(inputs[0])], str(out))
    before = tables(out)
    (out / "captions" / "000001.parquet").write_bytes(b"")
    (out / "layers" / "late" / "commits" / "000001.parquet").unlink()
    found = verify(str(out))
    assert (found.chunks, repair(str(out), found)) == (("000001",), 1)
    assert tables(out) == before


def test_what_a_layer_says_of_a_chunk_that_has_changed_is_not_seen(
    inputs: tuple[Path, Path], tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    run([str(inputs[0])], str(out), recipe)
    annotate(str(out), [f"late={WORDS}"])
    ledger = Ledger.at(out)
    chunk = ledger.read_plan()[1]
    (out / "commits" / "000001.parquet").unlink()
    changed = {"captions": pq.read_table(out / "captions" / "000001.parquet").slice(1)}
    tables_of = {name: pq.read_table(out / name / "000001.parquet") for name in ("failures", "images")} | changed
    write_chunk(tables_of, chunk, ledger.folder, ledger.spec_digest(chunk))

    told = status(ledger.folder)
    assert (told.complete, told.selected, told.layers[0].chunks_left) == (False, False, 1)
    sql = "SELECT count(words_late) AS seen, count(*) AS texts FROM captions"
    seen = run_query(ledger.folder, sql).to_pylist()[0]
    assert seen["seen"] == seen["texts"] - changed["captions"].num_rows

    record, write = f"layers/late/commits/{chunk.name}.parquet", Folder.write

    def cut(folder: Folder, name: str, data: bytes) -> None:
        if name == record:
            raise OSError("cut off")
        write(folder, name, data)

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "write", cut)
        with pytest.raises(RunFailed, match="cut off"):
            annotate(str(out))
    assert verify(str(out)).damaged == {}  # no record speaks of bytes that were replaced
    assert annotate(str(out)).chunks == 1
    assert run_query(ledger.folder, sql).to_pylist()[0]["seen"] == seen["texts"]


def test_what_cannot_be_appended_is_one_line(inputs: tuple[Path, Path], tmp_path: Path, recipe: Recipe) -> None:
    out = tmp_path / "out"
    nothing = invoke("run", inputs[0], "--out", out, "--append")
    assert (nothing.exit_code, "no run here" in nothing.stderr) == (2, True)
    run([str(inputs[0])], str(out), recipe)
    (out / "plan-of-mine.toml").write_text("")  # of no generation
    before = tables(out)
    other = write_pairs(tmp_path / "other" / "a.parquet", pairs(7))
    for arguments, told in (
        ([other], "the run has a file 'a.parquet' with other contents: give the new rows in a file of another name"),
        ([inputs[1], "--limit", "3"], "--append uses the recipe of the run"),
        ([inputs[1], "--set", "caption.n=2"], "only settings of [fetch] can change here"),
    ):
        result = invoke("run", *arguments, "--out", out, "--append")
        assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
        assert told in result.stderr
    limited = tmp_path / "limited"
    run([str(inputs[0])], str(limited), recipe, limit=6)
    with pytest.raises(ChangedError, match="planned with --limit 6"):
        append([str(inputs[1])], str(limited))
    assert tables(out) == before


@pytest.mark.parametrize("command", [retry, annotate, lambda out: append([f"{Path(out).parent}/photos"], out)])
def test_whoever_finishes_a_forget_goes_on_with_the_plan_that_it_left(
    tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, command: Callable[[str], object]
) -> None:
    photos, out, write = tmp_path / "photos", tmp_path / "out", Folder.write
    photos.mkdir()
    for number in range(2):
        (photos / f"{number}.jpg").write_bytes(picture(number))
    run([str(photos)], str(out), recipe)
    uid = run_query(Folder.at(out), "SELECT uid FROM images").to_pylist()[0]["uid"]

    def cut(folder: Folder, name: str, data: bytes) -> None:
        if name == "run.toml":  # the plan without the name of the image is written
            raise KeyboardInterrupt
        write(folder, name, data)

    with monkeypatch.context() as patched, contextlib.suppress(KeyboardInterrupt):
        patched.setattr(Folder, "write", cut)
        forget(Folder.at(out), [("uid", uid)])
    with pytest.raises(IntegrityError, match="a forget was interrupted: finish it"):
        verify(str(out))
    command(str(out))
    told = status(Folder.at(out))
    assert (told.complete, told.images, told.failures) == (True, 1, {"forgotten": 1})


def test_layers_are_made_where_the_run_works_now(inputs: tuple[Path, Path], tmp_path: Path, recipe: Recipe) -> None:
    out = tmp_path / "out"
    run([str(inputs[0])], str(out), recipe)
    annotate(str(out), [f"late={WORDS}"])
    (work,) = layer_work(Ledger.at(out), ("engine.workers=3",), more=True)
    assert work.recipe.engine.workers == 3


def test_watch_lets_in_what_comes_later_once_it_has_been_left_alone(
    inputs: tuple[Path, Path], tmp_path: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "days", tmp_path / "out"
    folder.mkdir()
    first, second = (path.rename(folder / path.name) for path in inputs)
    run([str(first)], str(out), recipe)
    age(first, 1000)
    second.rename(tmp_path / "later.parquet")
    looks: list[int] = []

    def sleep(seconds: float) -> None:
        assert seconds == 30
        looks.append(status(Ledger.at(out).folder).rows_planned)
        if len(looks) == 2:
            (tmp_path / "later.parquet").rename(second)
            age(second, 5)  # somebody may still be writing it
        if len(looks) == 3:
            age(second, 100)
        if len(looks) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    result = invoke("run", folder, "--out", out, "--append", "--watch", "30")
    assert looks == [12, 12, 12, 18]
    assert result.exit_code == 130
    assert result.output.count("1 of 1 new inputs: changed in the last 30 s, left for the next look") == 1
    assert status(Ledger.at(out).folder).complete


def test_watch_without_append_is_one_line(tmp_path: Path) -> None:
    result = invoke("run", tmp_path, "--out", tmp_path / "out", "--watch", "30")
    assert result.exit_code == 2
    assert (
        result.stderr
        == "error: --watch needs --append: start the run without both, then watch for what is to join it\n"
    )


def age(path: Path, seconds: float) -> None:
    """Let a file have changed so long ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))

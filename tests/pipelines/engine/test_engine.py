"""Whole runs on Ray: what they leave, what a second one does, what a kill costs."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from capfilt.commands.run import RunResult, run
from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, RunFailed
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status
from capfilt.pipelines.query import run_query
from capfilt.pipelines.recipes.load import load_recipe
from waiting import wait_until
from whole_run import commits, digests, driver

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]


def test_every_row_is_an_image_or_a_failure(unbroken: tuple[Path, RunResult]) -> None:
    out, outcome = unbroken
    state = status(Folder.at(out))
    assert (outcome.chunks, outcome.chunks_now, outcome.rows) == (12, 12, 60)
    assert state.complete
    assert state.balanced
    assert state.selected
    assert (state.images, state.failures) == (54, {"not_an_image": 6})
    assert state.captions == {"synthetic": 108, "web": 54}
    Ledger.at(out).verify()


def test_every_candidate_is_scored_and_decided(unbroken: tuple[Path, RunResult]) -> None:
    folder = Folder.at(unbroken[0])
    count = "SELECT count(*) AS n FROM captions c {} decisions d USING (uid, candidate) WHERE {}"
    assert run_query(folder, count.format("JOIN", "itm BETWEEN 0 AND 1 AND itc BETWEEN -1 AND 1")).to_pylist() == [
        {"n": 162}
    ]
    assert run_query(folder, count.format("JOIN", "d.keep <> (c.itm >= 0.5 AND c.text <> '')")).to_pylist() == [
        {"n": 0}
    ]
    first = run_query(folder, "SELECT candidate, source FROM captions ORDER BY uid, candidate LIMIT 3").to_pylist()
    assert [tuple(row.values()) for row in first] == [(0, "web"), (1, "synthetic"), (2, "synthetic")]


def test_a_second_run_does_nothing(unbroken: tuple[Path, RunResult], pictures: Path, recipe: Recipe) -> None:
    out, _ = unbroken
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    outcome = run([str(pictures)], str(out), recipe)
    assert outcome.chunks_now == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before


def test_names_are_meant_from_where_the_driver_stands(
    pictures: Path, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from where the workers stand, whose Ray (`tests/conftest.py`) started in another directory."""
    monkeypatch.chdir(tmp_path)
    Path("in.parquet").symlink_to(pictures)
    for name in ("random", "second"):
        Path(name).symlink_to(checkpoint)
    both = "caption.captioner=['random', 'second']"
    recipe = load_recipe("blip", (both, "score.judges=['random']", "input.chunk_rows=5"))
    assert run(["in.parquet"], "out", recipe, limit=10).chunks_now == 2
    assert (commits(tmp_path / "out"), status(Folder.at("out")).images) == (2, 9)
    writers = "SELECT split_part(captioner, '@', 1) AS name, count(itm) AS n FROM captions GROUP BY 1 ORDER BY 1"
    found = [tuple(row.values()) for row in run_query(Folder.at("out"), writers).to_pylist()]
    assert found == [("random", 9), ("second", 9), (None, 9)]


def test_another_recipe_is_refused(unbroken: tuple[Path, RunResult], pictures: Path, recipe: Recipe) -> None:
    other = recipe.model_copy(update={"caption": recipe.caption.model_copy(update={"top_p": 0.8})})
    with pytest.raises(ChangedError, match=r"caption\.top_p"):
        run([str(pictures)], str(unbroken[0]), other)


def test_told_to_stop_while_ray_starts(pictures: Path, settings: tuple[str, ...], tmp_path: Path) -> None:
    with driver(pictures, tmp_path / "out", settings) as process:
        wait_until(lambda: b"gcs_server" in children(process.pid))
        process.terminate()
        assert process.wait() == 128 + signal.SIGTERM


def children(pid: int) -> bytes:
    """Command lines of a process's children, one after the other."""
    found = b""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with suppress(OSError):  # it has ended meanwhile
            found += Path(f"/proc/{child}/cmdline").read_bytes()
    return found


def test_killed_and_run_again_ends_with_the_same_bytes(
    unbroken: tuple[Path, RunResult], pictures: Path, settings: tuple[str, ...], local_recipe: Recipe, tmp_path: Path
) -> None:
    """Resumed without Ray, for a start of Ray's workers costs 10 s; `test_local_engine.py` resumes on it."""
    out = tmp_path / "killed"
    with driver(pictures, out, settings) as process:
        wait_until(lambda: commits(out) >= 2, alive=lambda: process.poll() is None)
        os.kill(process.pid, signal.SIGKILL)
    done = commits(out)
    assert 2 <= done < 12, "the kill came too late to prove anything"
    outcome = run([str(pictures)], str(out), local_recipe)
    assert 0 < outcome.chunks_now <= 12 - 2
    assert digests(out) == digests(unbroken[0])


def test_a_chunk_that_fails_fails_alone(pictures: Path, recipe: Recipe, local_recipe: Recipe, tmp_path: Path) -> None:
    """The input changes under a running job: its chunk fails, loudly; the rest lands; put right, the run goes on."""
    shorter, whole, out = tmp_path / "pictures.parquet", pictures.read_bytes(), tmp_path / "out"
    shorter.write_bytes(whole)
    inputs = recipe.input.model_copy(update={"chunk_rows": 20})
    few, again = (one.model_copy(update={"input": inputs}) for one in (recipe, local_recipe))

    def cut_after_planning(progress: object) -> None:
        if getattr(progress, "phase", "") == "start":
            pq.write_table(pq.read_table(pictures).slice(0, 45), shorter)

    with pytest.raises(RunFailed, match="1 of 3 chunks failed; chunk 000002"):
        run([str(shorter)], str(out), few, listener=cut_after_planning)
    assert status(Folder.at(out)).chunks_done == 2
    shorter.write_bytes(whole)
    assert run([str(shorter)], str(out), again).chunks_now == 1
    assert status(Folder.at(out)).images == 54

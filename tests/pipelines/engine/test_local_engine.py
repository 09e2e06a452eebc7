"""Whole runs in one process, without Ray: the tables that Ray makes, the same resume, stages that can be debugged."""

import inspect
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from capfilt.commands.progress import RunProgress
from capfilt.commands.run import RunResult, run
from capfilt.core.config import Recipe
from capfilt.core.errors import BusyError, ConfigError, ModelError, RunFailed
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.stages.score import score
from whole_run import commits, digests

CHUNKS = 12

STOPPED = """
import os, signal, sys
from capfilt.cli import app
from capfilt.pipelines.engine.chunk import stages

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin with it ignored
number, real, calls = int(sys.argv.pop()), stages.score, []

def score(*arguments):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), number)
    return real(*arguments)

stages.score = score
app()
"""
"""`capfilt` that sends itself a signal amid its fourth chunk."""


def arguments(pictures: Path, out: Path, settings: tuple[str, ...]) -> list[str]:
    return ["run", str(pictures), "--out", str(out), *(word for value in settings for word in ("--set", value))]


def test_every_row_is_an_image_or_a_failure(calm: Path) -> None:
    state = status(Folder.at(calm))
    assert state.complete
    assert state.balanced
    assert state.selected
    assert (state.images, state.failures) == (54, {"not_an_image": 6})
    Ledger.at(calm).verify()


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_its_tables_are_those_of_ray_byte_for_byte(calm: Path, unbroken: tuple[Path, RunResult]) -> None:
    assert digests(calm) == digests(unbroken[0])


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_either_engine_resumes_what_the_other_began(
    calm: Path,
    unbroken: tuple[Path, RunResult],
    pictures: Path,
    recipe: Recipe,
    local_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("capfilt.pipelines.engine.ray_engine.MAX_CHUNKS", 2)  # more chunks than Ray is given at once
    for whole, other in ((calm, recipe), (unbroken[0], local_recipe)):
        out = tmp_path / other.engine.kind
        shutil.copytree(whole, out)
        for number in (3, 7, 8):
            (out / "commits" / f"{number:06d}.parquet").unlink()
        assert run([str(pictures)], str(out), other).chunks_now == 3
        assert digests(out) == digests(whole)


@pytest.mark.slow
def test_ray_is_not_imported_and_torch_only_for_models(pictures: Path, local: tuple[str, ...], tmp_path: Path) -> None:
    script = "import sys; from capfilt.cli import app; app(standalone_mode=False); print(*sys.modules)"
    without_models = ("caption.n=0", "score.judges=[]", "select.policy=all", "input.chunk_rows=20", "engine.kind=local")
    for settings, loaded in ((local, {"torch"}), (without_models, set())):
        out = tmp_path / f"{len(settings)}"
        command = [sys.executable, "-c", script, *arguments(pictures, out, settings), "--limit", "20"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert {"torch", "ray"} & set(done.stdout.splitlines()[-1].split()) == loaded
        assert status(Folder.at(out)).images == 18


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)],
)
def test_stopped_amid_a_chunk_it_resumes_and_ends_with_the_same_bytes(
    number: int, code: int, calm: Path, pictures: Path, local: tuple[str, ...], local_recipe: Recipe, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", STOPPED, *arguments(pictures, out, local), str(int(number))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert commits(out) == 3
    assert ("committed" in done.stderr) == (number != signal.SIGKILL)
    assert run([str(pictures)], str(out), local_recipe).chunks_now == CHUNKS - 3
    assert digests(out) == digests(calm)


@pytest.mark.slow
def test_a_breakpoint_stops_in_a_stage(pictures: Path, local: tuple[str, ...], tmp_path: Path) -> None:
    lines, first = inspect.getsourcelines(score)
    stop = first + next(number for number, line in enumerate(lines) if "candidates = " in line)
    pdb = f"b {inspect.getsourcefile(score)}:{stop}\nc\np ('stopped with', rows.num_rows, len(judges))\nq\n"
    command = [sys.executable, "-m", "pdb", "-m", "capfilt", *arguments(pictures, tmp_path / "out", local)]
    done = subprocess.run(command, input=pdb, capture_output=True, text=True, check=False)
    assert "('stopped with', 5, 1)" in done.stdout, done.stdout[-2000:] + done.stderr[-2000:]


def test_progress_is_heard_and_nobody_else_may_write(pictures: Path, local_recipe: Recipe, tmp_path: Path) -> None:
    heard: list[RunProgress] = []

    def listen(progress: RunProgress) -> None:
        heard.append(progress)
        if progress.phase == "start":
            with pytest.raises(BusyError):
                run([str(pictures)], str(tmp_path / "out"), local_recipe)

    threads = torch.get_num_threads()
    run([str(pictures)], str(tmp_path / "out"), local_recipe, listener=listen)
    assert [progress.phase for progress in heard] == ["plan", "planned", "start", *["work"] * CHUNKS, "select", "done"]
    assert [p.rows_done for p in heard if p.phase == "work"] == list(range(5, 61, 5))
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_a_chunk_that_fails_fails_alone(pictures: Path, local_recipe: Recipe, tmp_path: Path) -> None:
    shorter, whole, out = tmp_path / "pictures.parquet", pictures.read_bytes(), tmp_path / "out"
    shorter.write_bytes(whole)
    few = local_recipe.model_copy(update={"input": local_recipe.input.model_copy(update={"chunk_rows": 20})})

    def cut_after_planning(progress: RunProgress) -> None:
        if progress.phase == "start":
            pq.write_table(pq.read_table(pictures).slice(0, 45), shorter)

    with pytest.raises(RunFailed, match="1 of 3 chunks failed; chunk 000002"):
        run([str(shorter)], str(out), few, listener=cut_after_planning)
    assert commits(out) == 2
    shorter.write_bytes(whole)
    assert run([str(shorter)], str(out), few).chunks_now == 1


def test_a_model_that_cannot_be_loaded_stops_the_run(
    checkpoint: Path, pictures: Path, local: tuple[str, ...], tmp_path: Path
) -> None:
    judge = tmp_path / "judge"
    shutil.copytree(checkpoint, judge)
    recipe = load_recipe("blip", (*local, f"score.judges=['{judge}']"))

    def lose_the_judge(progress: RunProgress) -> None:
        if progress.phase == "start":
            for file in judge.iterdir():
                os.truncate(file, 0)

    with pytest.raises(ModelError, match="judge"):
        run([str(pictures)], str(tmp_path / "out"), recipe, listener=lose_the_judge)
    assert commits(tmp_path / "out") == 0


def test_a_cluster_and_one_process_cannot_both_be_meant() -> None:
    with pytest.raises(ConfigError, match=r"engine\.address = 'auto'.* names a Ray cluster"):
        load_recipe("blip", ("engine.kind=local", "engine.address=auto"))

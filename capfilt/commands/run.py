"""One run, from inputs to a corpus: plan, work through the chunks, check that it balances, select."""

import importlib.metadata
import platform
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

from capfilt.commands.layer_work import complete, layer_work
from capfilt.commands.progress import Listener, RunProgress
from capfilt.commands.stored_recipe import stored_recipe
from capfilt.commands.work_time import WorkTime
from capfilt.core.chunks import Chunk
from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, ConfigError, IntegrityError, RunFailed
from capfilt.core.version import __version__
from capfilt.ledger.generations import write_generation
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.session import Session, save_session
from capfilt.pipelines.engine.chunk.chunk_row import PlannedChunk
from capfilt.pipelines.engine.chunk.outcome import ChunkOutcome
from capfilt.pipelines.engine.chunk.peak_memory import larger, peak_memory
from capfilt.pipelines.evaluation.decontaminate import EvaluationSets
from capfilt.pipelines.forget.forget import finish_forgetting
from capfilt.pipelines.known_inputs import KnownInputs
from capfilt.pipelines.plan import Plan, make_plan
from capfilt.pipelines.selection.policy import check_policy
from capfilt.pipelines.selection.select import Selection, reselect, select
from capfilt.pipelines.stages.stage_models import check_models, prove_models, score_columns

VERSIONED = ("torch", "transformers", "ray", "pyarrow", "duckdb", "Pillow", "aiohttp", "open_clip_torch", "img2dataset")
"""Packages whose versions run.toml notes."""

SAVE_EVERY = 5.0
"""Seconds between two saves of the session file."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What a run came to."""

    chunks: int
    chunks_now: int  # committed by this session; 0 = there was nothing to do
    rows: int
    seconds: float
    selection: Selection
    notes: tuple[str, ...]  # what planning left out of folders, and why; a line each
    memory: dict[str, int] = field(default_factory=dict)  # bytes that a process held at most, by its kind


def run(
    inputs: Sequence[str],
    out: str,
    recipe: Recipe,
    *,
    limit: int | None = None,
    fresh: bool = False,
    listener: Listener = lambda _: None,
) -> RunResult:
    """Run CapFilt over inputs into the folder `out`, or resume an earlier run of the same.

    Raises:
        UserError: a mistake in inputs, recipe or models, a changed input or recipe, or a busy `out`; before any work.
        RunFailed: some chunks failed, or most rows in one way (`Breaker`); what is committed stays, and the same call
            continues from there.
        IntegrityError: rows in are not images + failures.
    """
    began = time.perf_counter()
    if recipe.score.image_judges:
        raise ConfigError("score.image_judges: add them to the finished run: `capfilt annotate OUT --image-judge NAME`")
    # Models and policy first: both are checked without loading anything, so a typo is found before the inputs are
    # listed.
    models = check_models(recipe)
    check_policy(recipe.select, score_columns(recipe))
    ledger = Ledger.at(out)
    folder = ledger.folder
    if fresh and (folder.exists("run.toml") or folder.names("commits") or folder.names("images")):
        raise ChangedError(f"--fresh: {out} is not empty; remove it or use another --out")
    listener(RunProgress("plan"))
    if not ledger.planned:
        # Only for a new run: when it resumes, the digests of the weights say they are the ones that were tried.
        prove_models(recipe)
    plan = make_plan(inputs, recipe.input, limit)
    evaluation = EvaluationSets.find(recipe.decode)
    with ledger.lock():
        # Before the plan is compared: a forget that was interrupted has rewritten some files and not yet others.
        finish_forgetting(ledger)
        notes = (*plan.notes, *_write_or_check(ledger, plan, evaluation, recipe, models, limit))
        decide = partial(select, ledger.folder, recipe.select, recipe.output.images)
        return _work_and_select(ledger, recipe, notes, began, listener, decide)


def append(
    inputs: Sequence[str],
    out: str,
    overrides: Sequence[str] = (),
    *,
    quiet: float = 0.0,
    listener: Listener = lambda _: None,
) -> RunResult:
    """Let new inputs join the run at `out`, with its own recipe; input files that it has already are left out.

    The layers of the run and its selection cover the new chunks when it ends. Interrupted, the same call resumes, and
    so does `run` with the first inputs.

    Args:
        overrides: `--set` values of [fetch], and of [engine] those that say how fast and not what.
        quiet: seconds for which a new input must not have changed; others are left out, and counted.

    Raises:
        UserError, RunFailed, IntegrityError: as `run`, and where an input has a known one's name and other contents.
    """
    began = time.perf_counter()
    ledger = Ledger.at(out)
    if limit := ledger.run["limit"]:
        raise ChangedError(f"{out}: was planned with --limit {limit}: only a run without --limit can be appended to")
    recipe = stored_recipe(ledger, overrides)
    evaluation = EvaluationSets.find(recipe.decode)
    listener(RunProgress("plan"))
    with ledger.lock():
        finish_forgetting(ledger)
        known = {one["identity"]: (one["size"], one["digest"]) for one in ledger.inputs()}
        if changed := [name for name, *facts in evaluation.inputs() if known.get(name) != tuple(facts)]:
            raise ChangedError(f"{out}: decode.exclude_eval: {changed[0]} changed since the run was planned")
        planned = ledger.read_plan()
        there = KnownInputs(known, [part for chunk in planned for part in chunk.parts])
        plan = make_plan(inputs, recipe.input, known=there, first=len(planned), quiet=quiet)
        if plan.chunks:
            files = ((file.identity, file.size, file.sha256) for file in plan.inputs)
            write_generation(ledger.folder, plan.chunks, files, versions(), plan.notes)
        again = partial(reselect, ledger, recipe)
        return _work_and_select(ledger, recipe, plan.notes, began, listener, again, overrides)


def _work_and_select(
    ledger: Ledger,
    recipe: Recipe,
    notes: tuple[str, ...],
    began: float,
    listener: Listener,
    decide: Callable[[], Selection],
    overrides: Sequence[str] = (),
) -> RunResult:
    """Do all that is planned and not yet done, check the books, complete the layers and select."""
    listener(RunProgress("planned", notes=notes))
    todo = ledger.todo()
    layers = layer_work(ledger, overrides, more=bool(todo))
    memory = work_on_chunks(ledger, todo, recipe, listener) if todo else {}
    if lacking := sorted({chunk.name for chunk in todo} - ledger.committed()):
        raise IntegrityError(f"{ledger.folder.location}: chunk {lacking[0]} was done, but its commit is not there")
    ledger.balance()
    complete(ledger, layers, listener)
    listener(RunProgress("select"))
    selection = decide()
    chunks = ledger.read_plan()
    listener(RunProgress("done"))
    rows = sum(chunk.rows for chunk in chunks)
    return RunResult(len(chunks), len(todo), rows, time.perf_counter() - began, selection, notes, memory)


def versions() -> dict[str, str]:
    """Versions that may matter to somebody who wonders why two runs differ."""
    found = {"capfilt": __version__, "python": platform.python_version()}
    return found | {name: importlib.metadata.version(name) for name in VERSIONED}


def _write_or_check(
    ledger: Ledger, plan: Plan, evaluation: EvaluationSets, recipe: Recipe, models: dict[str, str], limit: int | None
) -> list[str]:
    inputs = [*((file.identity, file.size, file.sha256) for file in plan.inputs), *evaluation.inputs()]
    if ledger.planned:
        ledger.check_unchanged(inputs, recipe, models, limit)
    notes = evaluation.write(ledger, recipe.decode)
    if not ledger.planned:
        ledger.write_plan(plan.chunks, inputs, recipe, versions(), models, limit, plan.notes)
    return notes


def work_on_chunks(ledger: Ledger, todo: list[Chunk], recipe: Recipe, listener: Listener) -> dict[str, int]:
    """Take the chunks through; bytes that a process held at most, by its kind.

    Raises:
        RunFailed: see `run`.
    """
    from capfilt.pipelines.engine.breaker import Breaker
    from capfilt.pipelines.engine.engine import work  # here: a run with nothing to do loads no stage

    planned = ledger.read_plan()
    rows_planned = sum(chunk.rows for chunk in planned)
    rows_before = rows_planned - sum(chunk.rows for chunk in todo)
    listener(RunProgress("start", rows_before, rows_planned, len(planned) - len(todo), len(planned)))
    failed: list[ChunkOutcome] = []
    reasons: Counter[str] = Counter()
    breaker = Breaker(recipe.run)
    chunks = [PlannedChunk(chunk, ledger.spec_digest(chunk)) for chunk in todo]
    with _session(ledger) as book, work(chunks, ledger.folder.location, recipe, ledger.run["models"]) as outcomes:
        for number, done in enumerate(outcomes, 1):
            if done.error:
                failed.append(done)
            else:
                book.add(done.rows, done.seconds, done.memory)
                reasons.update(done.reasons)
            rows_done = rows_before + book.rows
            chunks_done = len(planned) - len(todo) + number - len(failed)
            counts = (rows_done, rows_planned, chunks_done, len(planned), dict(reasons))
            listener(RunProgress("work", *counts, rows_now=book.rows, working=book.working))
            breaker.hear(done)
    if failed:
        first = failed[0]
        raise RunFailed(f"{len(failed)} of {len(todo)} chunks failed; chunk {first.chunk}: {first.error}")
    return book.memory


class _Book:
    """Keeps the session file up to date, so that a killed driver leaves its last state."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.started = _now()
        self.rows = 0
        self.clock = WorkTime()
        self.working = 0.0
        self.seconds: Counter[str] = Counter()
        self.memory: dict[str, int] = {}
        self.number = save_session(ledger.folder, self._session())
        self.saved = time.monotonic()

    def add(self, rows: int, seconds: dict[str, float], memory: dict[str, int]) -> None:
        self.rows += rows
        self.working = self.clock.commit(seconds)
        self.memory = larger(self.memory, memory)
        self.seconds.update(seconds)
        if time.monotonic() - self.saved > SAVE_EVERY:
            self.save()

    def save(self) -> None:
        self.memory = larger(self.memory, peak_memory("driver"))
        save_session(self.ledger.folder, self._session(), self.number)
        self.saved = time.monotonic()

    def _session(self) -> Session:
        seconds: dict[str, float] = {name: round(s, 3) for name, s in self.seconds.items()}
        return Session(self.started, _now(), self.rows, seconds, memory=self.memory, working=round(self.working, 3))


@contextmanager
def _session(ledger: Ledger) -> Iterator[_Book]:
    book = _Book(ledger)
    try:
        yield book
    finally:
        book.save()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")

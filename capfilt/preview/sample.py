"""A few rows through the stages of a run: what fails, what is kept, how long it takes, how much it stores.

The stages, the engine and the tables are those of a run; they lie in a temporary folder, of which nothing stays.
"""

import random
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from tempfile import TemporaryDirectory
from typing import Final

from capfilt.commands.progress import Listener, RunProgress
from capfilt.commands.run import versions
from capfilt.core import schema
from capfilt.core.chunks import Chunk, Part
from capfilt.core.config import InputSettings, Recipe
from capfilt.core.errors import RunFailed
from capfilt.core.storage import Folder
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status
from capfilt.pipelines.engine.chunk.chunk_row import PlannedChunk
from capfilt.pipelines.engine.chunk.outcome import ChunkOutcome
from capfilt.pipelines.engine.chunk.peak_memory import PeakMemory, larger
from capfilt.pipelines.evaluation.decontaminate import EvaluationSets
from capfilt.pipelines.plan import packed
from capfilt.pipelines.selection.policy import check_policy
from capfilt.pipelines.selection.select import Selection, select
from capfilt.pipelines.stages.stage_models import check_models, prove_models, score_columns
from capfilt.preview.estimate import Timing

FOLDERS: Final = ("images", "captions", "failures", "decisions", "corpus")
"""Folders of a run that grow with its rows."""

WARM_UP: Final = 16
"""Rows at least of the first chunk, whose time tells of starting more than of the work."""

_WARM_STAGES: Final = ("decode", "caption", "score")


@dataclass(frozen=True, slots=True)
class FailedRows:
    """Rows of a sample that failed for one reason."""

    reason: str
    rows: int
    detail: str  # the commonest


@dataclass(frozen=True, slots=True)
class SampleReport:
    """What a sample came to."""

    rows: int
    images: int
    failures: tuple[FailedRows, ...]  # the most frequent reason first
    selection: Selection
    timing: Timing
    storage: Mapping[str, float]  # bytes a row, by folder
    memory: PeakMemory
    empty: str  # why it has no image or no text, and what to look at; "" where it has both


def take_sample(
    parts: Sequence[Part], recipe: Recipe, *, seed: int = 0, listener: Listener = lambda _: None
) -> SampleReport:
    """Take rows through fetch, decode, caption, score, commit and select.

    Args:
        seed: of the order of the parts.

    Raises:
        UserError: a mistake in recipe or models; before any work.
        RunFailed: a chunk failed.
    """
    recipe = recipe.model_copy(
        update={"engine": recipe.engine.model_copy(update={"kind": "local", "address": "local"})}
    )
    models = check_models(recipe)
    check_policy(recipe.select, score_columns(recipe))
    prove_models(recipe)
    with TemporaryDirectory(prefix="capfilt-sample-") as place:
        ledger = Ledger.at(place)
        with ledger.lock():
            EvaluationSets.find(recipe.decode).write(ledger, recipe.decode)
            chunks = sample_chunks(parts, recipe.input, seed)
            ledger.write_plan(chunks, (), recipe, versions(), models)
            outcomes, timing = _timed(ledger, chunks, recipe, listener)
            selection = select(ledger.folder, recipe.select, recipe.output.images)
        return _report(ledger, outcomes, selection, timing)


def sample_chunks(parts: Sequence[Part], settings: InputSettings, seed: int) -> list[Chunk]:
    """Chunks of a sample: one to warm up, and then as many rows in each as a run has.

    How long a chunk is fetched depends on its slowest URL, so a chunk must be no smaller than it is in the run.
    """
    mixed = random.Random(seed).sample(list(parts), len(parts))
    rows, warm = sum(part.rows for part in mixed), 0
    wanted = warm_up_rows(rows, settings.chunk_rows)
    while sum(part.rows for part in mixed[:warm]) < wanted:
        warm += 1
    first = [Chunk("000000", tuple(mixed[:warm]))] if warm else []
    rest = packed(mixed[warm:], settings)
    return [*first, *(replace(chunk, name=f"{number:06d}") for number, chunk in enumerate(rest, len(first)))]


def warm_up_rows(rows: int, chunk_rows: int) -> int:
    """Rows of the first chunk, so that whole chunks follow where there are enough."""
    over = rows % chunk_rows
    if over >= WARM_UP and rows > chunk_rows:
        return over
    return over + chunk_rows if rows > 2 * chunk_rows else min(WARM_UP, rows // 4)


def timing_of(outcomes: Sequence[ChunkOutcome], start: float) -> Timing:
    """The pace behind the first chunk, and what is done but once.

    Args:
        start: seconds before the stages of the first chunk.
    """
    first, *rest = outcomes
    seconds: Counter[str] = Counter()
    for done in rest or [first]:
        seconds.update(done.seconds)
    timing = Timing(sum(done.rows for done in rest or [first]), dict(seconds), start)
    if not rest:
        return timing
    longer = (first.seconds.get(stage, 0.0) - first.rows * timing.per_row(stage) for stage in _WARM_STAGES)
    return replace(timing, once=start + sum(max(0.0, more) for more in longer))


def _timed(
    ledger: Ledger, chunks: Sequence[Chunk], recipe: Recipe, listener: Listener
) -> tuple[list[ChunkOutcome], Timing]:
    from capfilt.pipelines.engine.engine import work

    planned = [PlannedChunk(chunk, ledger.spec_digest(chunk)) for chunk in chunks]
    rows = sum(chunk.rows for chunk in chunks)
    listener(RunProgress("start", 0, rows))
    outcomes: list[ChunkOutcome] = []
    began, start = time.perf_counter(), 0.0
    with work(planned, ledger.folder.location, recipe, ledger.run["models"]) as stream:
        for done in stream:
            if done.error:
                raise RunFailed(done.error)
            if not outcomes:
                start = max(time.perf_counter() - began - sum(done.seconds.values()), 0.0)
            outcomes.append(done)
            listener(RunProgress("work", sum(one.rows for one in outcomes), rows))
    return outcomes, timing_of(outcomes, start)


def _report(ledger: Ledger, outcomes: Sequence[ChunkOutcome], selection: Selection, timing: Timing) -> SampleReport:
    rows = sum(done.rows for done in outcomes)
    memory: PeakMemory = {}
    for done in outcomes:
        memory = larger(memory, done.memory)
    return SampleReport(
        rows,
        sum(done.images for done in outcomes),
        _failures(ledger),
        selection,
        timing,
        {name: sum(ledger.folder.sizes(name).values()) / rows for name in FOLDERS},
        memory,
        status(Folder.at(ledger.folder.location)).empty,
    )


def _failures(ledger: Ledger) -> tuple[FailedRows, ...]:
    details: defaultdict[str, Counter[str]] = defaultdict(Counter)
    table = ledger.dataset("failures", schema.FAILURES).to_table(columns=["reason", "detail"])
    for reason, detail in zip(*(table[name].to_pylist() for name in ("reason", "detail")), strict=True):
        details[reason][detail or ""] += 1
    found = [FailedRows(reason, some.total(), some.most_common(1)[0][0]) for reason, some in details.items()]
    return tuple(sorted(found, key=lambda one: (-one.rows, one.reason)))

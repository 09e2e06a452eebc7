"""The stages that every chunk goes through, as functions of (table, chunk): the same for every engine.

An engine decides where a stage runs and asks for it by name there: `make_stages(("decode",), job)`. Only that stage's
code is imported then: every worker of a run is a process, and a run starts with some ten of them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import pyarrow as pa

from capfilt.core.config import Recipe
from capfilt.core.storage import Folder
from capfilt.ledger.locking.fencing import NO_LEASE, FencingToken, fenced_writes
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.engine.chunk.chunk_row import PlannedChunk, Stage
from capfilt.pipelines.engine.chunk.symptoms import COLUMN, Symptoms
from capfilt.pipelines.engine.chunk.tasks import NEW, ChunkTask
from capfilt.pipelines.stages import stage_models
from capfilt.pipelines.stages.caption import caption
from capfilt.pipelines.stages.micro_batches import AroundDeaths, Journal, MicroBatches, NoJournal
from capfilt.pipelines.stages.score import describe, score

STAGES: Final = ("fetch", "decode", "caption", "score", "commit")
"""Names of all stages, in their order."""

JournalOf = Callable[[str], Journal]
"""Makes the journal of one stage, or of one model's: "read", "fetch", "decode", "caption 0", "score 1"."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done with chunks.

    Args:
        out: the run's folder, by a name that every node understands.
        recipe: its settings.
        pixels: what the recipe's models want of every image; found out where the models' names are understood.
        models: digests that the work was planned with, as `stage_models.check_models` gives them.
        task: what kind of work it is.
        lease: of the driver; nothing is written for a driver that lost it.
    """

    out: str
    recipe: Recipe
    pixels: tuple[PixelSpec, ...]
    models: Mapping[str, str] = field(default_factory=dict)
    task: ChunkTask = NEW
    lease: FencingToken = NO_LEASE


def make_stages(names: Sequence[str], job: Job, journal: JournalOf = lambda _: NoJournal()) -> dict[str, Stage]:
    """Stages by name; models are loaded here.

    Raises:
        ModelError: a model cannot be loaded, or is another one than planned.
    """
    make: dict[str, Callable[[], Stage]] = {
        "fetch": lambda: _fetch(job, journal),
        "decode": lambda: _decode(job, journal),
        "caption": lambda: _caption(job, journal),
        "score": lambda: _score(job, journal),
        "commit": lambda: partial(_commit, job=job),
    }
    return {name: make[name]() for name in names}


def _fetch(job: Job, journal: JournalOf) -> Stage:
    reading, fetching = AroundDeaths(journal("read")), AroundDeaths(journal("fetch"))

    def stage(_: pa.Table, planned: PlannedChunk) -> pa.Table:
        return job.task.rows(planned.chunk, Folder.at(job.out), job.recipe, reading, fetching)

    return stage


def _decode(job: Job, journal: JournalOf) -> Stage:
    from capfilt.pipelines.evaluation.decontaminate import without_leaks
    from capfilt.pipelines.stages.decode import decode

    settings, decoding = job.recipe.decode, AroundDeaths(journal("decode"))

    def stage(rows: pa.Table, _: PlannedChunk) -> pa.Table:
        decoded = decode(rows, settings, job.pixels, pieces=decoding, output=job.recipe.output)
        # Before the models: what leaks out of a test set is not captioned.
        return without_leaks(decoded, Folder.at(job.out), settings)

    return stage


def _caption(job: Job, journal: JournalOf) -> Stage:
    recipe = job.recipe
    captioners = stage_models.load_captioners(recipe, job.models)
    # By place, not by name: folders of two trainings may well be called the same.
    batches = [_batches(recipe, journal(f"caption {place}")) for place in range(len(captioners))]
    return lambda rows, _: caption(rows, captioners, recipe.caption, batches)


def _score(job: Job, journal: JournalOf) -> Stage:
    recipe = job.recipe
    judges = stage_models.load_judges(recipe, job.models)
    batches = [_batches(recipe, journal(f"score {place}")) for place in range(len(judges))]
    describers = stage_models.load_image_judges(recipe, job.models)
    others = [_batches(recipe, journal(f"describe {place}")) for place in range(len(describers))]

    def stage(rows: pa.Table, _: PlannedChunk) -> pa.Table:
        scored = describe(score(rows, judges, batches), describers, others)
        # Pixels are most of a chunk's bytes, and the commit stage is another process.
        return scored.drop_columns([name for name in scored.column_names if name.startswith("pixels:")])

    return stage


def _commit(rows: pa.Table, planned: PlannedChunk, job: Job) -> pa.Table:
    folder = Folder.at(job.out)
    with fenced_writes(folder, job.lease):
        record = job.task.write(rows, planned.chunk, folder, planned.digest, job.recipe)
    return record.append_column(COLUMN, [[Symptoms.of(rows).to_json()]])


def _batches(recipe: Recipe, journal: Journal) -> MicroBatches:
    return MicroBatches(stage_models.batch_size(recipe), journal)

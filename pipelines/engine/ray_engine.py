"""Chunks through the stages on Ray Data, as many at once as there is room for.

A chunk is one row of a Ray dataset (`chunk_row`); stages that wait or compute are tasks, models live in actors.
"""

import os
from collections.abc import Generator, Sequence
from contextlib import chdir, nullcontext
from typing import Any, Final, NoReturn

import pyarrow as pa

from capfilt.core.errors import ModelError
from capfilt.pipelines.engine.chunk.chunk_row import PlannedChunk, Stage, new_row, run_stages, with_peak_memory
from capfilt.pipelines.engine.chunk.outcome import ChunkOutcome
from capfilt.pipelines.engine.chunk.stages import Job, make_stages
from capfilt.pipelines.engine.cluster import actors_on_a_node, joined
from capfilt.pipelines.engine.death_journal import DeathJournal, death_log
from capfilt.pipelines.engine.prometheus import RunMetrics
from capfilt.pipelines.engine.resources import Pool, fetchers, options, tasks

# Measured on two cores: actors busy 99 % of the time, the median gap 4 ms; with Ray's default 93 to 95 %, gaps up to
# 230 ms.
IN_FLIGHT: Final = 4
"""Chunks handed to a model actor at once: with 4 it is never idle between two chunks."""

MAX_CHUNKS: Final = 10_000
"""Chunks that Ray is given at once, for it keeps records of them all; the models are loaded again for the next ones."""


# Ray Data's own checkpoints (CheckpointConfig, 2.60) are not used. In trials with killed drivers they hung where CPUs
# were short, lost captions where one row became several, and processed filtered rows again at every resume. A chunk per
# row and a commit record per chunk lost and doubled nothing in ten kills.
def work_on_ray(chunks: Sequence[PlannedChunk], job: Job) -> Generator[ChunkOutcome]:
    """Yields each chunk as it is committed.

    Raises:
        ConfigError: no cluster at `engine.address`, or one that cannot hold the run.
        RunFailed: Ray did not start on this machine.
    """
    with joined(job.recipe, len(chunks)) as (ray, pools), death_log(ray) as deaths:
        metrics = RunMetrics(ray.util.metrics, job.out, len(chunks))
        for first in range(0, len(chunks), MAX_CHUNKS):
            rows = [new_row(planned) for planned in chunks[first : first + MAX_CHUNKS]]
            data = _dataset(ray, rows, job, pools, deaths)
            # No batch ahead: Ray would start threads to fetch the next row, which is a commit record of a few hundred
            # bytes.
            for row in data.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
                outcome = ChunkOutcome.of(row)
                metrics.count(outcome)
                yield outcome


def _dataset(ray: Any, rows: list[dict[str, Any]], job: Job, pools: Sequence[Pool], deaths: Any) -> Any:
    """The Ray dataset of these chunks after their last stage."""
    engine = job.recipe.engine
    # batch_size=1: without it a batch is the whole block, and with num_gpus Ray requires one.
    # pyarrow: as numpy, bytes become an array of Python objects, and arrays that cannot be written to.
    one_chunk = {"batch_size": 1, "batch_format": "pyarrow"}
    takes = {stage: options(some) for stage, some in tasks(engine).items()}
    waiting = ray.data.TaskPoolStrategy(fetchers(engine, os.cpu_count() or 1, len(rows)))
    # A block per chunk: Ray retries and schedules blocks, so a worker that dies costs one chunk.
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    # Settings travel as arguments: a worker imports this module anew, so a global set from argv or the environment
    # would have another value there.
    given = {"job": job, "deaths": deaths}
    data = data.map_batches(_fetch, fn_kwargs=given, compute=waiting, **takes["fetch"], **one_chunk)
    data = data.map_batches(_decode, fn_kwargs=given, **takes["decode"], **one_chunk)
    models = given | {"beside": actors_on_a_node(ray, pools), "here": os.getcwd()}
    for pool in pools:
        actors = ray.data.ActorPoolStrategy(
            min_size=pool.least, max_size=pool.most, max_tasks_in_flight_per_actor=IN_FLIGHT
        )
        data = data.map_batches(
            ModelActor,
            fn_constructor_kwargs=models | {"stages": pool.stages},
            compute=actors,
            **options(pool.takes),
            **one_chunk,
        )
    return data.map_batches(_commit, fn_kwargs=given, **takes["commit"], **one_chunk)


# Three functions, because Ray names operators, metrics and processes after them.
def _fetch(row: pa.Table, job: Job, deaths: Any) -> pa.Table:
    return _run("fetch", row, job, deaths)


def _decode(row: pa.Table, job: Job, deaths: Any) -> pa.Table:
    return _run("decode", row, job, deaths)


def _commit(row: pa.Table, job: Job, deaths: Any) -> pa.Table:
    return _run("commit", row, job, deaths)


def _run(stage: str, row: pa.Table, job: Job, deaths: Any) -> pa.Table:
    chunk = row["chunk"][0].as_py()
    stages = make_stages((stage,), job, lambda name: DeathJournal(deaths, name, chunk))
    return with_peak_memory(run_stages(row, stages), "worker")


class ModelActor:
    """The actor that holds the models: captioners and judges side by side, so that a chunk visits one GPU once.

    Where `engine.split` says so, there are actors for the captioners and others for the judges.
    """

    def __init__(self, job: Job, deaths: Any, beside: int, stages: Sequence[str], here: str = ".") -> None:
        """Load the models.

        Args:
            beside: model actors that share this node's cores.
            stages: caption, score or both.
            here: the directory that names of models start from: the driver's, where this node has it.
        """
        import torch

        # Scores differ in the last digits between thread counts (51 of 120 scores with 2 threads instead of 1), so a
        # plan fixes `engine.threads` where runs must be byte-identical on other machines.
        torch.set_num_threads(job.recipe.engine.threads or max(1, (os.cpu_count() or 1) // beside))
        self.journals: list[DeathJournal] = []

        def journal(stage: str) -> DeathJournal:
            self.journals.append(DeathJournal(deaths, stage))
            return self.journals[-1]

        try:
            with chdir(here) if os.path.isdir(here) else nullcontext():
                self.stages = make_stages(stages, job, journal)
        except ModelError as error:  # told by the first chunk: raised here, Ray would wrap it in pages of its own
            # Under the name of its first stage, so that `engine.UNFIT` knows the error and ends the run.
            self.stages = {stages[0]: _unfit(str(error))}

    def __call__(self, row: pa.Table) -> pa.Table:
        for journal in self.journals:
            journal.chunk = row["chunk"][0].as_py()
        return with_peak_memory(run_stages(row, self.stages), "model")


def _unfit(why: str) -> Stage:
    def stage(*_: object) -> NoReturn:
        raise ModelError(why)

    return stage

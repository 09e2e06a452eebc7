"""The main job on Ray: chunks through the stages, as many at once as there is room for.

A chunk is one row of a Ray dataset (`travel`); stages that wait or compute are tasks, models live in actors.
"""

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from capfilt.core.chunks import Chunk
from capfilt.core.config import DecodeSettings, FetchSettings, Recipe
from capfilt.core.errors import ModelError
from capfilt.core.storage import Folder
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.engine.chunk_row import changed, departure, lift, unpack
from capfilt.pipelines.engine.cluster import actors_on_a_node, joined
from capfilt.pipelines.engine.peak_memory import Footprint, footprint, larger
from capfilt.pipelines.engine.prometheus import Meter
from capfilt.pipelines.engine.resources import Pool, fetchers, options, tasks
from capfilt.pipelines.stages import stage_models
from capfilt.pipelines.stages.caption import caption
from capfilt.pipelines.stages.commit import commit
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.decontaminate import without_leaks
from capfilt.pipelines.stages.fetch import fetch
from capfilt.pipelines.stages.micro_batches import MicroBatches, Part
from capfilt.pipelines.stages.read import read
from capfilt.pipelines.stages.retry_rows import recommit, reopen
from capfilt.pipelines.stages.score import score
from capfilt.pipelines.stages.tombstones import Tombstones

IN_FLIGHT = 4
"""Chunks handed to a model actor at once: with 4 it is never idle between two chunks."""

AT_ONCE = 10_000
"""Chunks that Ray is given at once, for it keeps records of them all; the models are loaded anew for the next ones."""

MOST_DEATHS = 40
"""Deaths of the process on one stage of one chunk after which the chunk fails: several rows are poison, or all."""

UNFIT = re.compile(r"(caption|score): ModelError: (?P<why>.*)")
"""The error of a chunk that is every chunk's."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came out of one chunk: its commit, or the error that stopped it."""

    chunk: str
    rows: int
    images: int
    captions: int
    reasons: dict[str, int]
    seconds: dict[str, float]
    memory: Footprint
    error: str


def work(
    chunks: Sequence[Chunk], out: str, recipe: Recipe, digests: dict[str, str], retry: frozenset[str] = frozenset()
) -> Iterator[Done]:
    """Take every chunk through fetch, decode, caption, score and commit; yields each as it is committed.

    Args:
        out: the run's folder.
        digests: `Ledger.spec_digest` of every chunk.
        retry: the chunks are committed ones; only their rows that failed for one of these reasons are taken through,
            and a redo is left for the caller to `settle`.

    Raises:
        ModelError: a model cannot be loaded or does not do its work; there is no use in going on.
    """
    with joined(recipe, len(chunks)) as (ray, pools), _deaths(ray) as deaths:
        meter = Meter(ray.util.metrics, out, len(chunks))
        for first in range(0, len(chunks), AT_ONCE):
            rows = [departure(chunk, digests[chunk.name]) for chunk in chunks[first : first + AT_ONCE]]
            data = _through_all_stages(ray, rows, Folder.at(out).everywhere, recipe, retry, pools, deaths)
            for batch in data.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
                done = _arrival(batch)
                meter.count(done)
                if unfit := UNFIT.match(done.error):
                    raise ModelError(unfit["why"])
                yield done


def _through_all_stages(
    ray: Any,
    rows: list[dict[str, Any]],
    out: str,
    recipe: Recipe,
    retry: frozenset[str],
    pools: Sequence[Pool],
    deaths: Any,
) -> Any:
    """The dataset that comes out of departures."""
    data = ray.data.from_items(rows, override_num_blocks=len(rows))
    one_chunk = {"batch_size": 1, "batch_format": "pyarrow"}
    takes = {stage: options(some) for stage, some in tasks(recipe.engine).items()}
    fetching = {"settings": recipe.fetch, "out": out, "retry": retry}
    waiting = ray.data.TaskPoolStrategy(fetchers(recipe.engine, os.cpu_count() or 1, len(rows)))
    data = data.map_batches(_fetch, fn_kwargs=fetching, compute=waiting, **takes["fetch"], **one_chunk)
    decoding = {"settings": recipe.decode, "pixels": stage_models.pixels(recipe), "out": out}
    data = data.map_batches(_decode, fn_kwargs=decoding, **takes["decode"], **one_chunk)
    models = {"recipe": recipe, "deaths": deaths, "beside": actors_on_a_node(ray, pools), "here": os.getcwd()}
    for pool in pools:
        actors = ray.data.ActorPoolStrategy(
            min_size=pool.least, max_size=pool.most, max_tasks_in_flight_per_actor=IN_FLIGHT
        )
        data = data.map_batches(
            Annotate,
            fn_constructor_kwargs=models | {"stages": pool.stages},
            compute=actors,
            **options(pool.takes),
            **one_chunk,
        )
    return data.map_batches(_commit, fn_kwargs={"out": out, "retry": retry}, **takes["commit"], **one_chunk)


def _fetch(batch: pa.Table, settings: FetchSettings, out: str, retry: frozenset[str]) -> pa.Table:
    folder = Folder.at(out)

    def stage(_: pa.Table, chunk: Chunk) -> pa.Table:
        rows = reopen(chunk, folder, retry) if retry else Tombstones.of(folder).honour(read(chunk))
        return fetch(rows, settings)

    return lift(batch, {"fetch": stage})


def _decode(batch: pa.Table, settings: DecodeSettings, pixels: list[PixelSpec], out: str) -> pa.Table:
    def stage(rows: pa.Table, _: Chunk) -> pa.Table:
        return without_leaks(decode(rows, settings, pixels), Folder.at(out), settings)

    return lift(batch, {"decode": stage})


def _commit(batch: pa.Table, out: str, retry: frozenset[str]) -> pa.Table:
    digest = batch["digest"][0].as_py()
    write = recommit if retry else commit
    return lift(batch, {"commit": lambda rows, chunk: write(rows, chunk, Folder.at(out), digest)})


class Annotate:
    """The actor that holds the models: captioner and judges side by side, so that a chunk visits one GPU once.

    Where `engine.split` says so, there are actors for the captioner and others for the judges.
    """

    def __init__(self, recipe: Recipe, deaths: Any, beside: int, stages: Sequence[str], here: str = ".") -> None:
        """Load the models.

        Args:
            beside: model actors that share this node's cores.
            stages: caption, score or both.
            here: the directory that names of models start from: the driver's, where this node has it.
        """
        import torch

        torch.set_num_threads(recipe.engine.threads or max(1, (os.cpu_count() or 1) // beside))
        self.recipe = recipe
        self.stages = stages
        self.unfit = ""
        self.captioners, self.judges = [], []
        try:
            with chdir(here) if os.path.isdir(here) else nullcontext():
                self.captioners = stage_models.load_captioners(recipe) if "caption" in stages else []
                self.judges = stage_models.load_judges(recipe) if "score" in stages else []
        except ModelError as error:  # told by the first chunk: raised here, Ray would wrap it in pages of its own
            self.unfit = str(error)
        # By place, not by name: folders of two trainings may well be called the same.
        at_work = [f"caption {place}" for place in range(len(self.captioners))]
        at_work += [f"score {place}" for place in range(len(self.judges))]
        self.journals = [DeathJournal(deaths, what) for what in at_work]
        self.batches = [MicroBatches(stage_models.batch_size(recipe), journal) for journal in self.journals]

    def __call__(self, batch: pa.Table) -> pa.Table:
        for journal in self.journals:
            journal.chunk = batch["chunk"][0].as_py()
        known = {"caption": self._caption, "score": self._score}
        return _with_memory(lift(batch, {name: known[name] for name in self.stages}))

    def _caption(self, rows: pa.Table, _: Chunk) -> pa.Table:
        if self.unfit:
            raise ModelError(self.unfit)
        return caption(rows, self.captioners, self.recipe.caption, self.batches[: len(self.captioners)])

    def _score(self, rows: pa.Table, _: Chunk) -> pa.Table:
        if self.unfit:
            raise ModelError(self.unfit)
        scored = score(rows, self.judges, self.batches[len(self.captioners) :])
        return scored.drop_columns([name for name in scored.column_names if name.startswith("pixels:")])


Place = tuple[str, str]
"""A chunk and a stage."""


class Deaths:
    """An actor of its own that outlives the model actors: what each was at when it died."""

    def __init__(self) -> None:
        self.at_work: dict[Place, Part] = {}
        self.died: dict[Place, Counter[Part]] = {}

    def begin(self, place: Place) -> Counter[Part]:
        """A stage takes a chunk up; if it was at it already, the process died meanwhile."""
        died = self.died.setdefault(place, Counter())
        if place in self.at_work:
            died[self.at_work[place]] += 1
        self.at_work[place] = ()
        return died

    def enter(self, place: Place, part: Part) -> None:
        """These rows are at work now; none of them = no single ones."""
        self.at_work[place] = part

    def end(self, place: Place) -> None:
        """The stage is done with the chunk."""
        self.at_work.pop(place, None)
        self.died.pop(place, None)


@contextmanager
def _deaths(ray: Any) -> Iterator[Any]:
    """Beside the driver, who is lost last. Moved from a node that goes away it has forgotten: a few deaths more."""
    here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), True)
    settings = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "scheduling_strategy": here}
    actor = ray.remote(**settings)(Deaths).remote()
    try:
        yield actor
    finally:
        ray.kill(actor)  # Ray Data keeps what a dataset was made of, and Ray may go on after the run


class DeathJournal:
    """`micro.Journal` of one stage; notes single batches only once the process died on the chunk, for it costs time."""

    def __init__(self, deaths: Any, stage: str) -> None:
        self.deaths = deaths
        self.stage = stage
        self.chunk = ""
        self.careful = False

    def begin(self) -> Counter[Part]:
        died: Counter[Part] = self._ask(self.deaths.begin)
        if died.total() > MOST_DEATHS:
            self.end()
            raise RuntimeError(f"the process died {died.total()} times")
        self.careful = bool(died)
        return died

    def enter(self, part: Part) -> None:
        if self.careful:
            self._ask(self.deaths.enter, part)

    def leave(self) -> None:
        self.enter(())

    def end(self) -> None:
        self._ask(self.deaths.end)

    def _ask(self, method: Any, *values: Any) -> Any:
        import ray

        return ray.get(method.remote((self.chunk, self.stage), *values))


def _with_memory(batch: pa.Table) -> pa.Table:
    """The row of a chunk that was in this process."""
    most = larger(json.loads(batch["memory"][0].as_py()), footprint())
    return changed(batch, memory=pa.array([json.dumps(most)]))


def _arrival(batch: pa.Table) -> Done:
    chunk, error, seconds, memory = (batch[name][0].as_py() for name in ("chunk", "error", "seconds", "memory"))
    record = {} if error else unpack(batch).to_pylist()[0]
    reasons = dict(record.get("reasons") or [])
    rows, images, captions = (record.get(name, 0) for name in ("rows", "images", "captions"))
    return Done(chunk, rows, images, captions, reasons, json.loads(seconds), json.loads(memory), error)

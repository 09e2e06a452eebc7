"""Chunks through the stages, as many at once as there is room for.

Ray is known here and in `pretrain.py`, where several processes train, and nowhere else.

A chunk travels through Ray Data as ONE ROW, its table as Arrow IPC bytes. Ray can neither split nor merge a row, so no
stage ever sees half a chunk or two, whatever blocks and batches Ray makes. Every stage stays a plain function of a
table; `_Lifted` carries it to that row, checks that no row of the table got lost, and turns an exception into the
chunk's error, so that one poisoned chunk costs nobody else anything.
"""

import json
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from capfilt.config import Decode as DecodeSettings
from capfilt.config import Engine as EngineSettings
from capfilt.config import Fetch as FetchSettings
from capfilt.config import Recipe
from capfilt.errors import ConfigError, ModelError, RunFailed, Unbalanced
from capfilt.ledger import Chunk
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines import annotators
from capfilt.pipelines.caption import caption
from capfilt.pipelines.commit import commit
from capfilt.pipelines.decode import decode
from capfilt.pipelines.evaluation import without_leaks
from capfilt.pipelines.fetch import fetch
from capfilt.pipelines.micro import MicroBatches, Part
from capfilt.pipelines.read import read
from capfilt.pipelines.retry import recommit, reopen
from capfilt.pipelines.score import score
from capfilt.pipelines.tombstones import Tombstones
from capfilt.storage import Folder

TRAVEL = pa.schema(
    [
        ("chunk", pa.string()),
        ("spec", pa.string()),  # Chunk as JSON
        ("digest", pa.string()),  # Ledger.spec_digest of the chunk
        ("payload", pa.large_binary()),  # the chunk's table, Arrow IPC
        ("error", pa.string()),
        ("seconds", pa.string()),  # by stage, JSON
    ]
)
"""The row a chunk is while it travels."""

IN_FLIGHT = 4
"""Chunks handed to a model actor at once: with 4 it is never idle between two chunks."""

MOST_DEATHS = 40
"""Deaths of the process on one stage of one chunk after which the chunk fails: several rows are poison, or all."""

UNFIT = re.compile(r"(caption|score): ModelError: (?P<why>.*)")
"""The error of a chunk that is every chunk's."""

Stage = Callable[[pa.Table, Chunk], pa.Table]


@dataclass(frozen=True, slots=True)
class Done:
    """What came out of one chunk: its commit, or the error that stopped it."""

    chunk: str
    rows: int
    reasons: dict[str, int]
    seconds: dict[str, float]
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
    with runtime(recipe.engine) as ray:
        rows = [_departure(chunk, digests[chunk.name]) for chunk in chunks]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        actors = ray.data.ActorPoolStrategy(
            size=min(recipe.engine.workers, len(chunks)), max_tasks_in_flight_per_actor=IN_FLIGHT
        )
        one_chunk = {"batch_size": 1, "batch_format": "pyarrow"}
        # Different num_cpus keep Ray from fusing neighbours: fetching waits, decoding computes.
        fetching = {"settings": recipe.fetch, "out": out, "retry": retry}
        data = data.map_batches(_fetch, fn_kwargs=fetching, num_cpus=0.25, **one_chunk)
        data = data.map_batches(
            _decode,
            fn_kwargs={"settings": recipe.decode, "pixels": annotators.pixels(recipe), "out": out},
            num_cpus=1,
            **one_chunk,
        )
        # On a node that goes away it starts anew and has forgotten; then a poison row takes a few deaths more.
        deaths = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Deaths).remote()
        data = data.map_batches(
            Annotate,
            fn_constructor_kwargs={"recipe": recipe, "deaths": deaths},
            compute=actors,
            num_cpus=0.5,
            num_gpus=_gpus(recipe, ray),
            **one_chunk,
        )
        data = data.map_batches(_commit, fn_kwargs={"out": out, "retry": retry}, num_cpus=0.25, **one_chunk)
        for batch in data.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
            done = _arrival(batch)
            if unfit := UNFIT.match(done.error):
                raise ModelError(unfit["why"])
            yield done


def _fetch(batch: pa.Table, settings: FetchSettings, out: str, retry: frozenset[str]) -> pa.Table:
    folder = Folder.at(out)

    def stage(_: pa.Table, chunk: Chunk) -> pa.Table:
        rows = reopen(chunk, folder, retry) if retry else Tombstones.of(folder).honour(read(chunk))
        return fetch(rows, settings)

    return lift("fetch", stage, batch)


def _decode(batch: pa.Table, settings: DecodeSettings, pixels: list[PixelSpec], out: str) -> pa.Table:
    return lift(
        "decode", lambda rows, _: without_leaks(decode(rows, settings, pixels), Folder.at(out), settings), batch
    )


def _commit(batch: pa.Table, out: str, retry: frozenset[str]) -> pa.Table:
    digest = batch["digest"][0].as_py()
    write = recommit if retry else commit
    return lift("commit", lambda rows, chunk: write(rows, chunk, Folder.at(out), digest), batch)


class Annotate:
    """The actor that holds the models: captioner and judges side by side, so that a chunk visits one GPU once."""

    def __init__(self, recipe: Recipe, deaths: Any) -> None:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // recipe.engine.workers))
        self.recipe = recipe
        self.unfit = ""
        try:
            self.captioner, self.judges = annotators.load_captioner(recipe), annotators.load_judges(recipe)
        except ModelError as error:  # told by the first chunk: raised here, Ray would wrap it in pages of its own
            self.captioner, self.judges, self.unfit = None, [], str(error)
        stages = ["caption", *(f"score {judge.name}" for judge in self.judges)]
        self.journals = [DeathJournal(deaths, stage) for stage in stages]
        self.batches = [MicroBatches(recipe.engine.batch, journal) for journal in self.journals]

    def __call__(self, batch: pa.Table) -> pa.Table:
        for journal in self.journals:
            journal.chunk = batch["chunk"][0].as_py()
        batch = lift("caption", lambda rows, _: self._caption(rows), batch)
        return lift("score", lambda rows, _: self._score(rows), batch)

    def _caption(self, rows: pa.Table) -> pa.Table:
        if self.unfit:
            raise ModelError(self.unfit)
        return caption(rows, self.captioner, self.recipe.caption, self.batches[0])

    def _score(self, rows: pa.Table) -> pa.Table:
        scored = score(rows, self.judges, self.batches[1:])
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


def lift(name: str, stage: Stage, batch: pa.Table) -> pa.Table:
    """Carry a stage to the one row that a chunk is; an exception becomes the chunk's error and is carried on."""
    row = batch.to_pylist()[0]
    if row["error"]:
        return batch
    began = time.perf_counter()
    try:
        before = _unpack(row["payload"])
        after = stage(before, Chunk.from_json(row["spec"]))
        if before.num_rows and name != "commit" and not before["uid"].equals(after["uid"]):
            raise Unbalanced(
                f"stage {name} lost, doubled or reordered rows: {before.num_rows} in, {after.num_rows} out"
            )
        row["payload"] = _pack(after)
    except Exception as error:  # whatever it was, it is this chunk's failure: reported, retried by the next run
        row["error"] = f"{name}: {type(error).__name__}: {error}".splitlines()[0]
        row["payload"] = b""
        logging.getLogger(__name__).error("chunk %s: %s", row["chunk"], traceback.format_exc())
    seconds = json.loads(row["seconds"]) | {name: round(time.perf_counter() - began, 4)}
    return pa.Table.from_pylist([row | {"seconds": json.dumps(seconds)}], TRAVEL)


def _departure(chunk: Chunk, digest: str) -> dict[str, Any]:
    empty = _pack(pa.table({"uid": pa.array([], pa.string())}))
    name, spec = chunk.name, chunk.to_json()
    return {"chunk": name, "spec": spec, "digest": digest, "payload": empty, "error": "", "seconds": "{}"}


def _arrival(batch: pa.Table) -> Done:
    row = batch.to_pylist()[0]
    record = {} if row["error"] else _unpack(row["payload"]).to_pylist()[0]
    reasons = dict(record.get("reasons") or [])
    return Done(row["chunk"], record.get("rows", 0), reasons, json.loads(row["seconds"]), row["error"])


def _pack(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def _unpack(payload: bytes) -> pa.Table:
    return pa.ipc.open_stream(payload).read_all()


def _gpus(recipe: Recipe, ray: Any) -> float:
    if recipe.engine.gpus >= 0:
        return recipe.engine.gpus
    return 1.0 if ray.cluster_resources().get("GPU") else 0.0


@contextmanager
def runtime(settings: EngineSettings) -> Iterator[Any]:
    """Ray for the time of a run or a training, started or joined, quiet, with the settings that were found to work."""
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # or `uv run` makes every worker build an environment
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # or every actor pool prints a line about restarts
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    _start(ray, settings.address, settings.cpus or (os.cpu_count() or 1) + 2)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.wait_for_min_actors_s = 600  # a large model takes its time to load
        context.execution_no_progress_timeout_s = round(settings.stall_minutes * 60)
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, address: str, cpus: int) -> None:
    """Join a cluster, or start Ray on this machine; once more if it was too slow: it gives its own parts 30 s, fixed.

    Raises:
        ConfigError: no cluster at the address; one line.
        RunFailed: it did not come up twice; one line.
    """
    settings: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address != "local":
        try:
            with _hushed(), _own_sigterm():
                ray.init(address=address, **settings)
        except Exception as error:  # Ray raises bare Exceptions here
            raise ConfigError(f"engine.address = {address!r}: {str(error).splitlines()[0]}") from error
        return
    settings |= {"include_dashboard": False, "num_cpus": cpus}
    for last in (False, True):
        try:
            with _hushed(), _own_sigterm():
                ray.init(address="local", **settings)
            return
        except Exception as error:  # Ray raises bare Exceptions here
            ray.shutdown()
            if last:
                first = str(error).splitlines()[0]
                raise RunFailed(f"Ray did not start on this machine, is it overloaded? {first}") from error


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep the handler of SIGTERM that the caller chose: Ray puts its own there, which ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep native code off stderr for a moment: Ray's C++ core prints a line about its own log level there."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)

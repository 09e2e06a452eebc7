"""The only module that knows Ray: chunks through the stages, as many at once as there is room for.

A chunk travels through Ray Data as ONE ROW, its table as Arrow IPC bytes. Ray can neither split nor merge a row, so no
stage ever sees half a chunk or two, whatever blocks and batches Ray makes. Every stage stays a plain function of a
table; `_Lifted` carries it to that row, checks that no row of the table got lost, and turns an exception into the
chunk's error, so that one poisoned chunk costs nobody else anything.
"""

import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from capfilt.config import Decode as DecodeSettings
from capfilt.config import Fetch as FetchSettings
from capfilt.config import Recipe
from capfilt.errors import RunFailed, Unbalanced
from capfilt.ledger import Chunk
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.caption import caption
from capfilt.pipelines.commit import commit
from capfilt.pipelines.decode import decode
from capfilt.pipelines.fetch import fetch
from capfilt.pipelines.read import read
from capfilt.pipelines.score import score
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

Stage = Callable[[pa.Table, Chunk], pa.Table]


@dataclass(frozen=True, slots=True)
class Done:
    """What came out of one chunk: its commit, or the error that stopped it."""

    chunk: str
    rows: int
    reasons: dict[str, int]
    seconds: dict[str, float]
    error: str


def work(chunks: Sequence[Chunk], out: str, recipe: Recipe, digests: dict[str, str]) -> Iterator[Done]:
    """Take every chunk through fetch, decode, caption, score and commit; yields each as it is committed.

    Args:
        out: the run's folder.
        digests: `Ledger.spec_digest` of every chunk.
    """
    with _runtime(recipe) as ray:
        rows = [_departure(chunk, digests[chunk.name]) for chunk in chunks]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        actors = ray.data.ActorPoolStrategy(
            size=min(recipe.engine.workers, len(chunks)), max_tasks_in_flight_per_actor=IN_FLIGHT
        )
        one_chunk = {"batch_size": 1, "batch_format": "pyarrow"}
        # Different num_cpus keep Ray from fusing neighbours: fetching waits, decoding computes.
        data = data.map_batches(_fetch, fn_kwargs={"settings": recipe.fetch}, num_cpus=0.25, **one_chunk)
        data = data.map_batches(
            _decode, fn_kwargs={"settings": recipe.decode, "pixels": _pixels(recipe)}, num_cpus=1, **one_chunk
        )
        data = data.map_batches(
            Annotate,
            fn_constructor_kwargs={"recipe": recipe},
            compute=actors,
            num_cpus=0.5,
            num_gpus=_gpus(recipe, ray),
            **one_chunk,
        )
        data = data.map_batches(_commit, fn_kwargs={"out": out}, num_cpus=0.25, **one_chunk)
        for batch in data.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
            yield _arrival(batch)


def _fetch(batch: pa.Table, settings: FetchSettings) -> pa.Table:
    return lift("fetch", lambda _, chunk: fetch(read(chunk), settings), batch)


def _decode(batch: pa.Table, settings: DecodeSettings, pixels: list[PixelSpec]) -> pa.Table:
    return lift("decode", lambda rows, _: decode(rows, settings, pixels), batch)


def _commit(batch: pa.Table, out: str) -> pa.Table:
    digest = batch["digest"][0].as_py()
    return lift("commit", lambda rows, chunk: commit(rows, chunk, Folder.at(out), digest), batch)


class Annotate:
    """The actor that holds the models: captioner and judges side by side, so that a chunk visits one GPU once."""

    def __init__(self, recipe: Recipe) -> None:
        import torch

        from capfilt.models import registry

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // recipe.engine.workers))
        place = registry.Placement(device=recipe.engine.device, dtype=recipe.engine.dtype, token=recipe.score.token)
        self.recipe = recipe
        wanted = recipe.caption.n > 0
        self.captioner = registry.load_captioner(recipe.caption.captioner, place) if wanted else None
        self.judges = [registry.load_judge(name, place) for name in recipe.score.judges]

    def __call__(self, batch: pa.Table) -> pa.Table:
        batch = lift("caption", lambda rows, _: self._caption(rows), batch)
        return lift("score", lambda rows, _: self._score(rows), batch)

    def _caption(self, rows: pa.Table) -> pa.Table:
        return caption(rows, self.captioner, self.recipe.caption, self.recipe.engine.batch)

    def _score(self, rows: pa.Table) -> pa.Table:
        scored = score(rows, self.judges, self.recipe.engine.batch)
        return scored.drop_columns([name for name in scored.column_names if name.startswith("pixels:")])


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


def _pixels(recipe: Recipe) -> list[PixelSpec]:
    """The pixel sizes the recipe's models want, each once."""
    from capfilt.models import registry  # here: it takes torch, which the stages before the actor are spared

    names = [*([recipe.caption.captioner] if recipe.caption.n else []), *recipe.score.judges]
    return list(dict.fromkeys(registry.pixels(name) for name in names))


def _gpus(recipe: Recipe, ray: Any) -> float:
    if recipe.engine.gpus >= 0:
        return recipe.engine.gpus
    return 1.0 if ray.cluster_resources().get("GPU") else 0.0


@contextmanager
def _runtime(recipe: Recipe) -> Iterator[Any]:
    """A local Ray for the time of a run, quiet, with the settings that were found to work."""
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")  # or `uv run` makes every worker build an environment
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # or every actor pool prints a line about restarts
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    _start(ray, recipe.engine.cpus or (os.cpu_count() or 1) + 2)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.wait_for_min_actors_s = 600  # a large model takes its time to load
        context.execution_no_progress_timeout_s = round(recipe.engine.stall_minutes * 60)
        yield ray
    finally:
        ray.shutdown()


def _start(ray: Any, cpus: int) -> None:
    """Start Ray on this machine, and once more if it was too slow: it gives its own parts 30 s, fixed.

    Raises:
        RunFailed: it did not come up twice; one line.
    """
    settings = {"include_dashboard": False, "logging_level": logging.ERROR, "log_to_driver": False}
    for last in (False, True):
        try:
            with _hushed():
                ray.init(address="local", num_cpus=cpus, **settings)
            return
        except Exception as error:  # Ray raises bare Exceptions here
            ray.shutdown()
            if last:
                first = str(error).splitlines()[0]
                raise RunFailed(f"Ray did not start on this machine, is it overloaded? {first}") from error


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

"""Is every file of a run what was written? And if not: make it again.

What was committed, layers too, is held against the digests in its records. What is made from that (decisions/, corpus/,
named selections, duplicates, marks) has no digest; its pages have checksums. A damaged chunk is run again from its
inputs, a damaged chunk of a layer is annotated again, a damaged selection is decided again from the stored scores.
"""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from capfilt.commands.layer_work import complete, layer_work
from capfilt.commands.progress import Listener, RunProgress
from capfilt.commands.run import work_on_chunks
from capfilt.commands.stored_recipe import stored_recipe
from capfilt.core import schema
from capfilt.core.chunks import Chunk
from capfilt.core.errors import IntegrityError
from capfilt.core.tables import opened, read_table
from capfilt.ledger import transaction
from capfilt.ledger.integrity import CHUNK_TABLES, damage
from capfilt.ledger.layers import LAYER_COMMITS, LAYERS, Layer
from capfilt.ledger.layers_of_run import layer_states
from capfilt.ledger.ledger import DAMAGED, Ledger
from capfilt.pipelines.forget.forget import finish_forgetting
from capfilt.pipelines.selection.select import reselect

DERIVED: Final = ("decisions", "corpus")
"""Tables that `capfilt select` makes from the committed ones."""


@dataclass(frozen=True, slots=True)
class VerifyProgress:
    """How far the reading is."""

    files_done: int
    files: int
    bytes_done: int
    bytes_all: int
    damaged: int
    seconds: float  # since the start


@dataclass(frozen=True, slots=True)
class Verified:
    """What was found."""

    files: int
    bytes_read: int
    seconds: float
    damaged: dict[str, str] = field(default_factory=dict)  # file -> what is wrong with it
    chunks: tuple[str, ...] = ()  # committed chunks with a damaged file, or a damaged record
    unread: int = 0  # files that --sample left out


def verify(
    out: str,
    *,
    sample: int | None = None,
    seed: int = 0,
    listener: Callable[[VerifyProgress], None] = lambda _: None,
) -> Verified:
    """Read all files of the run at `out`, or those of some of its chunks, and name those that are damaged.

    Args:
        sample: this many chunks, drawn with `seed`; None = all.

    Raises:
        UserError: no run there.
        IntegrityError: run.toml or the plan is damaged, without which nothing can be checked; or a forget was
            interrupted, and has changed files before their records.
    """
    began = time.perf_counter()
    ledger = Ledger.at(out)
    ledger.check_forgetting()
    planned = {chunk.name for chunk in ledger.read_plan()}
    chunks = sorted(ledger.committed())
    drawn = chunks if sample is None else sorted(random.Random(seed).sample(chunks, min(sample, len(chunks))))
    files = _files(ledger, drawn)
    left_out = len(_files(ledger, chunks)) - len(files)
    damaged: dict[str, str] = {}
    hurt: set[str] = set()
    done, total = 0, sum(files.values())
    for number, (name, size) in enumerate(sorted(files.items()), 1):
        if name.startswith("commits/"):
            chunk = Path(name).stem
            found = _check_commit(ledger, name, chunk in planned)
            hurt.update([chunk] if found else [])
        elif name.startswith(f"{LAYERS}/"):
            found = _check_layer(ledger, name)
        elif name.endswith(".toml"):
            found = _check_selection(ledger, name)
        else:  # the tables of a chunk are read with its record
            found = _check_pages(ledger, name) if name.partition("/")[0] not in CHUNK_TABLES else {}
        damaged |= found
        done += size
        passed = time.perf_counter() - began
        listener(VerifyProgress(number, len(files), done, total, len(damaged), passed))
    return Verified(len(files), done, time.perf_counter() - began, damaged, tuple(sorted(hurt)), left_out)


def repair(out: str, found: Verified, overrides: Sequence[str] = (), *, listener: Listener = lambda _: None) -> int:
    """Make again what `verify` found damaged; gives the number of chunks that were run again.

    The record of a damaged chunk is deleted first: from then on it is a chunk that is still to do, so an interrupted
    repair is finished by `capfilt run` as well. Rows are fetched again, and what a site no longer gives becomes a
    failure: what is still readable of a damaged chunk is kept under damaged/ before.

    Args:
        overrides: `--set` values of [fetch], and of [engine] those that say how fast and not what.

    Raises:
        UserError: another process writes the run, or its models are no longer the same.
        RunFailed: some chunks failed; the others are repaired.
    """
    ledger = Ledger.at(out)
    recipe = stored_recipe(ledger, overrides, with_models=bool(found.chunks))
    with ledger.lock():
        finish_forgetting(ledger)
        for name in sorted(found.damaged):
            if name.startswith(f"{LAYERS}/"):  # the record first: without it a file counts for nothing
                layer = Layer.read(ledger.folder, name.split("/")[1])
                ledger.folder.delete(layer.record(Path(name).stem))
            if name.partition("/")[0] not in (*CHUNK_TABLES, "commits"):
                ledger.folder.delete(name)
        for chunk in found.chunks:
            _set_aside(ledger, chunk)
        chunks: list[Chunk] = [chunk for chunk in ledger.todo() if chunk.name in found.chunks]
        layers = layer_work(ledger, overrides, more=bool(chunks))
        if chunks:
            work_on_chunks(ledger, chunks, recipe, listener)
        if not ledger.todo():
            ledger.balance()
            complete(ledger, layers, listener)
            listener(RunProgress("select"))
            reselect(ledger, recipe)
    listener(RunProgress("done"))
    return len(chunks)


def _files(ledger: Ledger, chunks: list[str]) -> dict[str, int]:
    """The files to read and their bytes: those of these chunks in every table, and pending transactions."""
    selected = DERIVED if ledger.folder.exists("selection.toml") else ()
    derived = [*selected, *(f"selections/{name}/decisions" for name in ledger.selections())]
    kept = {f"{table}/{chunk}.parquet": 0 for table in derived for chunk in chunks}  # one that is missing is damage
    wanted = set(chunks)
    for table in (*CHUNK_TABLES, "commits", *derived):
        kept |= {name: size for name, size in ledger.folder.sizes(table).items() if Path(name).stem in wanted}
    for state in layer_states(ledger):
        for place in (f"{state.layer.place}/commits", state.layer.place):
            sizes = ledger.folder.sizes(place).items()
            kept |= {name: size for name, size in sizes if Path(name).stem in wanted}
    tomls = {name: 0 for name in ("selection.toml", *ledger.folder.names("selections", ".toml"))}
    present = {name: size for name, size in tomls.items() if ledger.folder.exists(name)}
    return kept | ledger.folder.sizes(transaction.PLACE) | present


def _check_commit(ledger: Ledger, name: str, is_planned: bool) -> dict[str, str]:
    """What is wrong with a commit record and the files that it names."""
    try:
        record: dict[str, Any] = read_table(ledger.folder, name, schema=schema.COMMITS).to_pylist()[0]
        record["files"] = dict(record["files"])
    except (IntegrityError, IndexError, TypeError, ValueError) as error:
        return {name: _short(error)}
    if not is_planned:
        return {name: "is not in the plan"}
    return damage(ledger.folder, record["files"])


def _check_layer(ledger: Ledger, name: str) -> dict[str, str]:
    """What is wrong with the record of a layer, or with the file that it names; that file alone is read with it."""
    layer = Layer.read(ledger.folder, name.split("/")[1])
    if name == layer.table(Path(name).stem):
        return {}
    try:
        record = read_table(ledger.folder, name, schema=LAYER_COMMITS).to_pylist()[0]
    except (IntegrityError, IndexError, TypeError, ValueError) as error:
        return {name: _short(error)}
    return layer.damage(record)


def _check_selection(ledger: Ledger, name: str) -> dict[str, str]:
    """What is wrong with the .toml of a selection."""
    try:
        ledger.selection("" if name == "selection.toml" else Path(name).stem)
    except IntegrityError as error:
        return {name: _short(error)}
    return {}


def _check_pages(ledger: Ledger, name: str) -> dict[str, str]:
    """What is wrong with a file that has no digest: every page of it is read."""
    try:
        with opened(ledger.folder, name) as file:
            for _ in _groups(file):
                pass
    except FileNotFoundError:
        return {name: "is missing"}
    except (IntegrityError, OSError) as error:
        return {name: _short(error)}
    return {}


def _groups(file: Any) -> Iterator[None]:
    for group in range(file.num_row_groups):
        file.read_row_group(group, use_threads=False)
        yield


def _short(error: BaseException) -> str:
    return " ".join(str(error).split()).split(": `capfilt verify")[0] or type(error).__name__


def _set_aside(ledger: Ledger, chunk: str) -> None:
    """Copy the files of a chunk to damaged/, for a person to look at, then delete its record.

    In that order: without its record the chunk may be done again, over the only copy of what is damaged.
    """
    for table in CHUNK_TABLES:
        name = f"{table}/{chunk}.parquet"
        if ledger.folder.exists(name):
            ledger.folder.write(f"{DAMAGED}/{name}", ledger.folder.read(name))
    ledger.folder.delete(f"commits/{chunk}.parquet")

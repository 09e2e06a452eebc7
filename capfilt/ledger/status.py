"""The state of a run, read from its ledger alone: what `capfilt status` shows."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core import schema
from capfilt.core.config import OutputSettings
from capfilt.core.errors import IntegrityError
from capfilt.core.storage import Folder
from capfilt.core.tables import read_table
from capfilt.ledger.joined import run_captions_schema, texts_dataset
from capfilt.ledger.layers_of_run import LayerState, is_current, layer_states
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.session import Session, read_sessions

_FORMER_KINDS: Final = {"host": "model", "device": "gpu"}
"""What runs before 0.2 noted, of model processes alone."""


@dataclass(frozen=True, slots=True)
class LayerStatus:
    """The state of a layer."""

    name: str
    subject: str  # texts, images or captions
    columns: tuple[str, ...]
    chunks_done: int
    chunks_left: int  # committed chunks that it lacks, or that have changed since it was made
    rows: int  # texts or images of the chunks that are done, or the captions that it adds
    without: dict[str, int]  # rows that it says nothing of, or images without new captions, by the image's reason


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a run."""

    chunks_done: int
    chunks_left: int
    rows_planned: int
    rows_done: int
    images: int
    failures: dict[str, int]  # by reason, most frequent first
    captions: dict[str, int]  # by source; empty when the run does not balance
    odd_scores: dict[str, int]  # NaN or infinite ones by judge column, where there are any
    rate: float | None  # rows a second of the latest session
    busy: float | None  # share of the latest session's time that model actors spent in their stages
    memory: dict[str, int]  # bytes that a process held at most, by its kind, largest first
    appended: int  # times that inputs were appended
    layers: tuple[LayerStatus, ...]
    complete: bool  # every planned chunk is committed, and every layer has it
    balanced: bool
    problem: str  # why it does not balance, else ""
    selected: bool  # decisions/ and corpus/ were made from exactly the commits there are, see `layers.is_current`
    left_out: tuple[str, ...]  # which files of the inputs are not read, and why; a line each
    stored: str  # what the images were resized to and re-encoded as; "" where they are stored as they came
    empty: str  # why a complete run has no image or no text, and what to look at; "" where it has both


def status(folder: Folder) -> Status:
    """The state of the run in `folder`.

    Raises:
        InputError: there is no run here.
        IntegrityError: plan.parquet is not the one that run.toml was written for.
    """
    ledger = Ledger(folder)
    plan, records, sessions = ledger.read_plan(), ledger.records(), read_sessions(folder)
    left = {chunk.name for chunk in plan} - set(records["chunk"].to_pylist())
    states = layer_states(ledger, records)
    problem = _problem(ledger, records, states)
    failures = _by_frequency(dict(pairs) for pairs in records["reasons"].to_pylist())
    images = sum(records["images"].to_pylist())
    captions, odd_scores = ({}, {}) if problem else _captions(ledger, states)
    told = _layers(states)
    return Status(
        chunks_done=records.num_rows,
        chunks_left=len(left),
        rows_planned=sum(chunk.rows for chunk in plan),
        rows_done=sum(records["rows"].to_pylist()),
        images=images,
        failures=failures,
        captions=captions,
        odd_scores=odd_scores,
        rate=sessions[-1].rate if sessions else None,
        busy=sessions[-1].busy(_actors(ledger.run["recipe"], len(plan))) if sessions else None,
        memory=_peaks(sessions),
        appended=len(ledger.generations()),
        layers=told,
        complete=not left and not any(layer.chunks_left for layer in told),
        balanced=not problem,
        problem=problem,
        selected=is_current(ledger, ledger.selection(), records),
        left_out=tuple(ledger.left_out()),
        stored=_stored(ledger),
        empty="" if left or problem else _nothing(ledger, images, failures),
    )


def _stored(ledger: Ledger) -> str:
    output = OutputSettings.model_validate(ledger.run["recipe"].get("output", {}))
    if output.pixels == "original":
        return ""
    size = "" if output.resize_mode == "no" else f" {output.image_size}"
    return f"{output.resize_mode}{size}, {output.encode_format} {output.encode_quality}"


def _actors(recipe: dict[str, Any], chunks: int) -> int:
    """Model actors of a run at most."""
    engine = recipe.get("engine", {})
    if engine.get("kind") == "local":
        return 1
    workers: int = min(engine.get("workers", 1), chunks)
    splits = engine.get("split") and recipe["caption"]["n"] and recipe["score"]["judges"]
    judges: int = min(engine.get("judge_workers") or workers, chunks) if splits else 0
    return workers + judges


def _peaks(sessions: Sequence[Session]) -> dict[str, int]:
    most: dict[str, int] = {}
    for session in sessions:
        for name, size in session.memory.items():
            kind = _FORMER_KINDS.get(name, name)
            most[kind] = max(size, most.get(kind, 0))
    return dict(sorted(most.items(), key=lambda item: (-item[1], item[0])))


def _problem(ledger: Ledger, records: pa.Table, states: Sequence[LayerState]) -> str:
    try:
        ledger.balance(records)
        for state in states:
            state.check()
    except IntegrityError as error:
        return str(error)
    return ""


def _nothing(ledger: Ledger, images: int, failures: dict[str, int]) -> str:
    """Why a complete run gave nothing; "" where it gave something."""
    if not images and failures:
        reason, count = next(iter(failures.items()))
        detail = _detail(ledger, reason) or schema.Reason(reason).meaning
        said = f"{count} of {sum(failures.values())} rows failed as {reason} ({detail})"
        return f"no image at all: {said}: look at {schema.Reason(reason).look_at}"
    recipe = ledger.run["recipe"]
    is_meant = not recipe["caption"]["n"] and recipe["input"]["text"] == "none"
    if images and not is_meant and not _has_a_text(ledger):
        return (
            f"no text at all: {images} images, not one with a text: look at input.text, caption.n and caption.captioner"
        )
    return ""


def _detail(ledger: Ledger, reason: str) -> str:
    """What one failure with this reason says."""
    import pyarrow.dataset as ds

    found = ledger.dataset("failures", schema.FAILURES).head(1, columns=["detail"], filter=ds.field("reason") == reason)
    return found["detail"][0].as_py() or "" if found.num_rows else ""


def _has_a_text(ledger: Ledger) -> bool:
    """Whether any image has a text with something to read; reads no further than the first one."""
    batches = ledger.dataset("captions", schema.captions_schema(())).to_batches(columns=["flags"])
    return any("empty" not in flags for batch in batches for flags in batch["flags"].to_pylist())


def _by_frequency(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for some in counts:
        total.update(some)
    return dict(sorted(total.items(), key=lambda item: (-item[1], item[0])))


def _captions(ledger: Ledger, states: Sequence[LayerState]) -> tuple[dict[str, int], dict[str, int]]:
    """The texts by source, and the scores that are NaN or infinite by column; reads no text."""
    columns = run_captions_schema(ledger)
    judges = [field.name for field in columns if field.name not in schema.captions_schema(()).names]
    sources: list[dict[str, int]] = []
    odd: Counter[str] = Counter()
    for batch in texts_dataset(ledger, states).to_batches(columns=["source", *judges]):
        sources.append({item["values"]: item["counts"] for item in batch["source"].value_counts().to_pylist()})
        odd.update({name: count for name in judges if (count := _not_finite(batch[name]))})
    for state in states if sources else ():
        if state.layer.subject != "captions":
            odd.update(_odd(state))
    return _by_frequency(sources), dict(odd)


def _layers(states: Sequence[LayerState]) -> tuple[LayerStatus, ...]:
    """The layers by name; what a judge's says of the texts of another layer is counted with it."""
    parts: defaultdict[str, list[LayerState]] = defaultdict(list)
    for state in states:
        parts[state.layer.name].append(state)
    return tuple(_layer(some) for _, some in sorted(parts.items()))


def _layer(parts: Sequence[LayerState]) -> LayerStatus:
    layer, chunks = parts[0].layer, parts[0].chunks
    left = {chunk for part in parts for chunk in part.lacking}
    records = [record for part in parts for record in part.standing.values()]
    return LayerStatus(
        layer.name,
        layer.subject,
        tuple(layer.columns.names),
        len(chunks) - len(left),
        len(left),
        sum(record["rows"] for record in records),
        _by_frequency(dict(record["reasons"]) for record in records),
    )


def _odd(state: LayerState) -> dict[str, int]:
    """Its values that are NaN or infinite, by column, where there are any."""
    layer = state.layer
    odd: Counter[str] = Counter()
    names = [field.name for field in layer.columns if pa.types.is_floating(field.type)]
    for chunk in state.standing if names else ():
        table = read_table(layer.folder, layer.table(chunk), columns=names)
        odd.update({name: count for name in names if (count := _not_finite(table[name]))})
    return dict(odd)


def _not_finite(scores: pa.Array | pa.ChunkedArray) -> int:
    """NaN and infinite values; null is no score, and not counted."""
    finite: int | None = pc.sum(pc.is_finite(scores)).as_py()
    return len(scores) - int(scores.null_count) - (finite or 0)

"""A chunk on its way through the stages: ONE ROW, its table as Arrow IPC bytes.

Ray can neither split nor merge a row, so no stage ever sees half a chunk or two, whatever blocks and batches Ray makes.
A stage stays a plain function of a table; `run_stages` applies stages to the row, checks that no row of the table got
lost, and turns an exception into the chunk's error, so that one broken chunk costs the others nothing. The bytes are
mostly pixels, a hundred megabytes and more: they are read in place, and copied once a hop.
"""

import json
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from capfilt.core.chunks import Chunk
from capfilt.core.errors import CapfiltError, IntegrityError
from capfilt.core.secrets import redact
from capfilt.pipelines.engine.chunk.peak_memory import larger, peak_memory

CHUNK_ROW = pa.schema(
    [
        ("chunk", pa.string()),
        ("spec", pa.string()),  # Chunk as JSON
        ("digest", pa.string()),  # Ledger.spec_digest of the chunk
        # large: `binary` ends at 2 GB, and the pixels of 10,000 rows (the most a chunk may have) at 384 x 384 are 4.4
        # GB.
        ("payload", pa.large_binary()),  # the chunk's table, Arrow IPC
        ("error", pa.string()),
        ("seconds", pa.string()),  # by stage, JSON
        ("memory", pa.string()),  # PeakMemory of the processes that the chunk went through, JSON
    ]
)
"""The row of a chunk between two stages."""

EMPTY = pa.table({"uid": pa.array([], pa.string())})  # what the first stage is given, which reads the rows itself


@dataclass(frozen=True, slots=True)
class PlannedChunk:
    """A chunk and the digest that its commit record will carry (`Ledger.spec_digest`)."""

    chunk: Chunk
    digest: str


Stage = Callable[[pa.Table, PlannedChunk], pa.Table]


def new_row(planned: PlannedChunk) -> dict[str, Any]:
    """The row of a chunk before its first stage."""
    row = {"chunk": planned.chunk.name, "spec": planned.chunk.to_json(), "digest": planned.digest}
    return row | {"payload": pack(EMPTY).to_pybytes(), "error": "", "seconds": "{}", "memory": "{}"}


def run_stages(row: pa.Table, stages: Mapping[str, Stage]) -> pa.Table:
    """Apply stages, one after the other, to the one row that a chunk is; an exception becomes the chunk's error."""
    if row["error"][0].as_py():
        return row
    planned = PlannedChunk(Chunk.from_json(row["spec"][0].as_py()), row["digest"][0].as_py())
    seconds: dict[str, float] = json.loads(row["seconds"][0].as_py())
    rows, error = unpack(row), ""
    for name, stage in stages.items():
        began = time.perf_counter()
        try:
            rows = _complete(name, rows, stage(rows, planned))
        except Exception as failure:  # whatever it was, it is this chunk's failure: reported, retried by the next run
            error = redact(f"{name}: {type(failure).__name__}: {failure}".splitlines()[0])
            # A full disk or a damaged file needs no trace of our code; the line says it.
            told = error if isinstance(failure, OSError | CapfiltError) else redact(traceback.format_exc())
            logging.getLogger(__name__).error("chunk %s: %s", planned.chunk.name, told)
        seconds[name] = round(time.perf_counter() - began, 4)
        if error:
            break
    payload = pa.py_buffer(b"") if error else pack(rows)
    return _changed(row, payload=_one(payload), error=pa.array([error]), seconds=pa.array([json.dumps(seconds)]))


def with_peak_memory(row: pa.Table, kind: str) -> pa.Table:
    """The row of a chunk that went through stages in this process, which is of this kind."""
    most = larger(json.loads(row["memory"][0].as_py()), peak_memory(kind))
    return _changed(row, memory=pa.array([json.dumps(most)]))


def pack(table: pa.Table) -> pa.Buffer:
    """A table as Arrow IPC."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def unpack(row: pa.Table) -> pa.Table:
    """The table in a chunk's row; it uses the row's own bytes, without a copy."""
    payload = row["payload"].chunk(0)
    _, offsets, data = payload.buffers()  # a scalar's bytes would be a copy
    wide = np.int64 if pa.types.is_large_binary(payload.type) else np.int32  # Ray chooses the type of a new row
    start, end = np.frombuffer(offsets, wide)[payload.offset : payload.offset + 2].tolist()
    return pa.ipc.open_stream(data.slice(start, end - start)).read_all()


def _changed(row: pa.Table, **columns: pa.Array) -> pa.Table:
    """The row with other values; the others are not copied."""
    return pa.table([columns.get(name, row[name]) for name in CHUNK_ROW.names], schema=CHUNK_ROW)


def _complete(name: str, before: pa.Table, after: pa.Table) -> pa.Table:
    if before.num_rows and name != "commit" and not before["uid"].equals(after["uid"]):
        raise IntegrityError(
            f"stage {name} lost, doubled or reordered rows: {before.num_rows} in, {after.num_rows} out"
        )
    return after


def _one(payload: pa.Buffer) -> pa.Array:
    """An array of one value that is these bytes and no copy of them."""
    offsets = pa.py_buffer(np.array([0, payload.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, payload])

"""How a chunk travels through Ray Data: as ONE ROW, its table as Arrow IPC bytes.

Ray can neither split nor merge a row, so no stage ever sees half a chunk or two, whatever blocks and batches Ray makes.
Every stage stays a plain function of a table; `lift` carries it to that row, checks that no row of the table got lost,
and turns an exception into the chunk's error, so that one poisoned chunk costs nobody else anything. The bytes are
mostly pixels, a hundred megabytes and more: they are looked at where they lie, and copied once a hop.
"""

import json
import logging
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from capfilt.core.chunks import Chunk
from capfilt.core.errors import Unbalanced

TRAVEL = pa.schema(
    [
        ("chunk", pa.string()),
        ("spec", pa.string()),  # Chunk as JSON
        ("digest", pa.string()),  # Ledger.spec_digest of the chunk
        ("payload", pa.large_binary()),  # the chunk's table, Arrow IPC
        ("error", pa.string()),
        ("seconds", pa.string()),  # by stage, JSON
        ("memory", pa.string()),  # footprint.Footprint of the largest model process it went through, JSON
    ]
)
"""The row a chunk is while it travels."""

EMPTY = pa.table({"uid": pa.array([], pa.string())})

Stage = Callable[[pa.Table, Chunk], pa.Table]


def departure(chunk: Chunk, digest: str) -> dict[str, Any]:
    """The row of a chunk that nothing was done to yet."""
    row = {"chunk": chunk.name, "spec": chunk.to_json(), "digest": digest, "payload": pack(EMPTY).to_pybytes()}
    return row | {"error": "", "seconds": "{}", "memory": "{}"}


def lift(batch: pa.Table, stages: Mapping[str, Stage]) -> pa.Table:
    """Carry stages, one after the other, to the one row that a chunk is; an exception becomes the chunk's error."""
    if batch["error"][0].as_py():
        return batch
    chunk = Chunk.from_json(batch["spec"][0].as_py())
    seconds: dict[str, float] = json.loads(batch["seconds"][0].as_py())
    rows, error = unpack(batch), ""
    for name, stage in stages.items():
        began = time.perf_counter()
        try:
            rows = _complete(name, rows, stage(rows, chunk))
        except Exception as failure:  # whatever it was, it is this chunk's failure: reported, retried by the next run
            error = f"{name}: {type(failure).__name__}: {failure}".splitlines()[0]
            logging.getLogger(__name__).error("chunk %s: %s", chunk.name, traceback.format_exc())
        seconds[name] = round(time.perf_counter() - began, 4)
        if error:
            break
    payload = pa.py_buffer(b"") if error else pack(rows)
    return changed(batch, payload=_one(payload), error=pa.array([error]), seconds=pa.array([json.dumps(seconds)]))


def changed(batch: pa.Table, **columns: pa.Array) -> pa.Table:
    """The row with other values; what stays is not copied."""
    return pa.table([columns.get(name, batch[name]) for name in TRAVEL.names], schema=TRAVEL)


def pack(table: pa.Table) -> pa.Buffer:
    """A table as Arrow IPC."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def unpack(batch: pa.Table) -> pa.Table:
    """The table that travels in a row; it lies in the row's own bytes."""
    payload = batch["payload"].chunk(0)
    _, offsets, data = payload.buffers()  # a scalar's bytes would be a copy
    wide = np.int64 if pa.types.is_large_binary(payload.type) else np.int32  # Ray chooses the type of a departure
    start, end = np.frombuffer(offsets, wide)[payload.offset : payload.offset + 2].tolist()
    return pa.ipc.open_stream(data.slice(start, end - start)).read_all()


def _complete(name: str, before: pa.Table, after: pa.Table) -> pa.Table:
    if before.num_rows and name != "commit" and not before["uid"].equals(after["uid"]):
        raise Unbalanced(f"stage {name} lost, doubled or reordered rows: {before.num_rows} in, {after.num_rows} out")
    return after


def _one(payload: pa.Buffer) -> pa.Array:
    """An array of one value that is these bytes and no copy of them."""
    offsets = pa.py_buffer(np.array([0, payload.size], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, offsets, payload])

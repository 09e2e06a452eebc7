"""Taking rows out of the layers of a run, together with the rows of the chunk that they speak of."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core.serialization import parquet_bytes
from capfilt.core.storage import Folder
from capfilt.core.tables import read_table
from capfilt.ledger.layers import LAYER_COMMITS, Layer
from capfilt.ledger.layers_of_run import layers_of, states_of
from capfilt.pipelines.layers.layer_rows import layer_record

Record = dict[str, Any]


def shrink_layers(folder: Folder, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Let the layers speak of a chunk as it will be, before it is written so; called again, it does the same.

    What a layer said of the remaining rows stays. Where it spoke of another state of the chunk, its file goes: it is
    not seen any more, and `capfilt annotate` makes it again.

    Args:
        old: the chunk's commit record.
        new: the record that it will have, and in `uids` the images that stay (an Arrow array).
    """
    chunk = new["chunk"]
    there: dict[str, Record] = {}
    made: dict[str, tuple[bytes, pa.Table]] = {}
    states = states_of(layers_of(folder), {})
    for layer, bases in ((state.layer, [base.layer.label for base in state.bases]) for state in states):
        record = _record(folder, layer, chunk)
        if record is None or not made.keys() >= set(bases):
            continue
        after = layer.spec_digest(new, [made[base][1].to_pylist()[0] for base in bases])
        if record["spec"] in (layer.spec_digest(old, [there[base] for base in bases]), after):
            there[layer.label] = record
            made[layer.label] = _shrunk(layer, record, new, after)
    # Those that are made from others first, as the layers before the chunk: what is cut off can be told from whole.
    for state in reversed(states):
        name, record_name = state.layer.table(chunk), state.layer.record(chunk)
        if state.layer.label not in made:
            folder.delete(record_name)
            folder.delete(name)
            continue
        data, shrunk = made[state.layer.label]
        folder.write(name, data)
        folder.write(record_name, parquet_bytes(shrunk))


def _record(folder: Folder, layer: Layer, chunk: str) -> Record | None:
    if not folder.exists(layer.record(chunk)):
        return None
    record: Record = read_table(folder, layer.record(chunk), schema=LAYER_COMMITS).to_pylist()[0]
    return record


def _shrunk(layer: Layer, before: Record, new: Mapping[str, Any], spec_digest: str) -> tuple[bytes, pa.Table]:
    """The file of the chunk without the images that go, and its record."""
    told = read_table(layer.folder, layer.table(new["chunk"]), schema=layer.schema)
    rest = told.filter(pc.is_in(told["uid"], new["uids"])).combine_chunks()
    data = parquet_bytes(rest)
    reasons = _left(dict(before["reasons"]), _silent(layer, rest, new["uids"]))
    return data, layer_record(new["chunk"], rest, data, reasons, spec_digest)


def _silent(layer: Layer, rest: pa.Table, uids: pa.Array) -> int:
    """Rows without a value; of captions, images without one."""
    if layer.subject == "captions":
        return len(uids) - len(pc.unique(rest["uid"]))
    names = layer.columns.names
    return sum(all(row[name] is None for name in names) for row in rest.select(names).to_pylist())


def _left(reasons: dict[str, int], count: int) -> dict[str, int]:
    """Reasons of those that are left; which of them had which is not known any more."""
    left = {}
    for reason, most in sorted(reasons.items()):
        if taken := min(most, count):
            left[reason] = taken
        count -= taken
    return left

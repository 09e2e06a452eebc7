"""Taking rows out of the layers of a run, together with the rows of the chunk that they speak of."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core.serialization import parquet_bytes
from capfilt.core.storage import Folder
from capfilt.core.tables import read_table
from capfilt.ledger.layers import LAYER_COMMITS, Layer
from capfilt.ledger.layers_of_run import layers_of
from capfilt.pipelines.layers.layer_rows import layer_record


def shrink_layers(folder: Folder, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Let the layers speak of a chunk as it will be, before it is written so; called again, it does the same.

    What a layer said of the remaining rows stays. Where it spoke of another state of the chunk, its file goes: it is
    not seen any more, and `capfilt annotate` makes it again.

    Args:
        old: the chunk's commit record.
        new: the record that it will have, and in `uids` the images that stay (an Arrow array).
    """
    for layer in layers_of(folder):
        table, record = layer.table(new["chunk"]), layer.record(new["chunk"])
        if folder.exists(record) and _spec(folder, record) in (layer.spec_digest(old), layer.spec_digest(new)):
            _shrink(layer, new)
        else:
            folder.delete(record)
            folder.delete(table)


def _spec(folder: Folder, record: str) -> str:
    spec: str = read_table(folder, record, schema=LAYER_COMMITS)["spec"][0].as_py()
    return spec


def _shrink(layer: Layer, new: Mapping[str, Any]) -> None:
    chunk = new["chunk"]
    told = read_table(layer.folder, layer.table(chunk), schema=layer.schema)
    rest = told.filter(pc.is_in(told["uid"], new["uids"])).combine_chunks()
    data = parquet_bytes(rest)
    before = read_table(layer.folder, layer.record(chunk), schema=LAYER_COMMITS).to_pylist()[0]
    reasons = _left(dict(before["reasons"]), rest, layer)
    layer.folder.write(layer.table(chunk), data)
    record = layer_record(chunk, rest, data, reasons, layer.spec_digest(new))
    layer.folder.write(layer.record(chunk), parquet_bytes(record))


def _left(reasons: dict[str, int], rest: pa.Table, layer: Layer) -> dict[str, int]:
    """Reasons of the rows without a value that are left; which of them had which is not known any more."""
    names = layer.columns.names
    count = sum(all(row[name] is None for name in names) for row in rest.select(names).to_pylist())
    left = {}
    for reason, most in sorted(reasons.items()):
        if taken := min(most, count):
            left[reason] = taken
        count -= taken
    return left

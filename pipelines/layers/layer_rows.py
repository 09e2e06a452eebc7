"""What a layer says of a committed chunk, after its stored images and texts went through the stages."""

import hashlib
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core import schema
from capfilt.core.errors import IntegrityError
from capfilt.core.serialization import parquet_bytes
from capfilt.core.storage import Folder
from capfilt.core.tables import read_table
from capfilt.ledger.layers import KEYS, LAYER_COMMITS, TABLES, Layer
from capfilt.pipelines.stages.caption import CANDIDATES
from capfilt.pipelines.stages.commit import captions_table

Said = dict[tuple[Any, ...], dict[str, Any]]
"""What an annotator says, by the key of the text or image."""


def commit_layer(rows: pa.Table, chunk: str, folder: Folder, label: str, spec_digest: str) -> pa.Table:
    """Write what a layer says of a chunk, then its record; a chunk that has its record is left unchanged.

    Args:
        rows: what came out of the stages of what `stored_rows` gave. A row that failed on its way has no values.
        label: `Layer.label`.
        spec_digest: `Layer.spec_digest` when the work began.

    Returns:
        The record, one row of `LAYER_COMMITS`.

    Raises:
        IntegrityError: the chunk has changed meanwhile.
    """
    layer = Layer.read(folder, label)
    if _spec_now(layer, chunk) != spec_digest:
        raise IntegrityError(f"chunk {chunk} changed while layer {label} was made")
    if folder.exists(layer.record(chunk)):
        record = read_table(folder, layer.record(chunk), schema=LAYER_COMMITS)
        if record["spec"][0].as_py() == spec_digest:
            return record
        folder.delete(layer.record(chunk))  # before its file is replaced: it would speak of bytes that are gone
    if layer.subject == "captions":
        table = _new_captions(rows, layer)
        reasons = Counter(rows["reason"].drop_null().to_pylist())
    else:
        table = layer_table(layer, chunk, _said(rows, layer))
        reasons = Counter(_reasons(rows, table))
    data = parquet_bytes(table)
    folder.write(layer.table(chunk), data)
    record = layer_record(chunk, table, data, reasons, spec_digest)
    folder.write(layer.record(chunk), parquet_bytes(record))
    return record


def _spec_now(layer: Layer, chunk: str) -> str:
    """`Layer.spec_digest` of the chunk and of the layers that this one is made from, as they are now."""
    folder = layer.folder
    made = read_table(folder, f"commits/{chunk}.parquet", schema=schema.COMMITS).to_pylist()[0]
    records = [Layer.read(folder, name).record(chunk) for name in layer.made_from]
    return layer.spec_digest(made, [read_table(folder, one, schema=LAYER_COMMITS).to_pylist()[0] for one in records])


def _new_captions(rows: pa.Table, layer: Layer) -> pa.Table:
    """The new rows of captions/, by image."""
    alive = rows.filter(pc.is_null(rows["reason"]))
    table = captions_table(alive)
    for field in layer.schema:
        if field.name not in table.column_names:  # no image, so no judge spoke
            table = table.append_column(field, pa.nulls(table.num_rows, field.type))
    return table.select(layer.schema.names).cast(layer.schema).combine_chunks()


def layer_record(chunk: str, table: pa.Table, data: bytes, reasons: dict[str, int], spec_digest: str) -> pa.Table:
    """The record of a chunk's file."""
    record = {
        "chunk": chunk,
        "rows": table.num_rows,
        "without": sum(reasons.values()),
        "reasons": sorted(reasons.items()),
        "sha256": hashlib.sha256(data).hexdigest(),
        "size": len(data),
        "spec": spec_digest,
    }
    return pa.Table.from_pylist([record], schema=LAYER_COMMITS)


def layer_table(layer: Layer, chunk: str, said: Said) -> pa.Table:
    """What is said, in the order of the rows of the chunk; null where nothing is."""
    keys = KEYS[layer.subject].names
    file = f"{TABLES[layer.subject]}/{chunk}.parquet"
    if layer.beside:
        file = Layer.read(layer.folder, layer.beside).table(chunk)
    table = read_table(layer.folder, file, columns=keys)
    found = [said.get(key, {}) for key in zip(*(table[name].to_pylist() for name in keys), strict=True)]
    columns = [pa.array([one.get(field.name) for one in found], field.type) for field in layer.columns]
    return pa.table([*(table[name] for name in keys), *columns], schema=layer.schema).combine_chunks()


def _said(rows: pa.Table, layer: Layer) -> Said:
    names = layer.columns.names
    if layer.subject == "images":
        return {(row.pop("uid"),): row for row in rows.select(["uid", *names]).to_pylist()}
    said: Said = {}
    for row in rows.select(["uid", "reason", CANDIDATES]).to_pylist():
        for candidate in row[CANDIDATES] or () if row["reason"] is None else ():
            said[row["uid"], candidate["candidate"]] = {name: candidate[name] for name in names}
    return said


def _reasons(rows: pa.Table, table: pa.Table) -> list[str]:
    """Of every row of `table` whose image failed on its way, why."""
    failed = {uid: why for uid, why in zip(rows["uid"].to_pylist(), rows["reason"].to_pylist(), strict=True) if why}
    return [failed[uid] for uid in table["uid"].to_pylist() if uid in failed]

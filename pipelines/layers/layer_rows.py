"""Annotating a committed chunk: its stored images and texts go through the stages, and a layer gets the new columns."""

import hashlib
from collections import Counter, defaultdict
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

Said = dict[tuple[Any, ...], dict[str, Any]]
"""What an annotator says, by the key of the text or image."""


def stored_rows(chunk: str, folder: Folder) -> pa.Table:
    """The images of a committed chunk as `schema.ROWS`, all alive, with their texts in the column `candidates`."""
    names = ["uid", "url", "redirect_hosts", "source", "image"]
    wanted = pa.schema([schema.IMAGES.field(name) for name in names])
    images = read_table(folder, f"images/{chunk}.parquet", columns=names, schema=wanted)
    columns = {
        **{name: images[name] for name in ("uid", "source", "url", "redirect_hosts")},
        "image": pc.struct_field(images["image"], "bytes").cast(pa.large_binary()),
        "texts": pa.array([[] for _ in range(images.num_rows)], schema.ROWS.field("texts").type),
    }
    nothing = pa.nulls(images.num_rows, pa.string())
    rows = pa.table([columns.get(name, nothing) for name in schema.ROWS.names], names=schema.ROWS.names)
    return rows.cast(schema.ROWS).append_column(CANDIDATES, _candidates(chunk, folder, images["uid"].to_pylist()))


def _candidates(chunk: str, folder: Folder, uids: list[str]) -> pa.Array:
    fixed = schema.captions_schema(())
    by_uid: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_table(folder, f"captions/{chunk}.parquet", columns=fixed.names, schema=fixed).to_pylist():
        by_uid[row.pop("uid")].append(row)
    if strange := by_uid.keys() - set(uids):
        raise IntegrityError(f"captions/{chunk}.parquet: a text of image {min(strange)}, which is not there")
    return pa.array([by_uid[uid] for uid in uids], pa.list_(schema.candidate_type(())))


def commit_layer(rows: pa.Table, chunk: str, folder: Folder, name: str, spec_digest: str) -> pa.Table:
    """Write what a layer says of a chunk, then its record; a chunk that has its record is left unchanged.

    Args:
        rows: what came out of the stages of what `stored_rows` gave. A row that failed on its way has no values.
        spec_digest: `Layer.spec_digest` when the work began.

    Returns:
        The record, one row of `LAYER_COMMITS`.

    Raises:
        IntegrityError: the chunk has changed meanwhile.
    """
    layer = Layer.read(folder, name)
    made = read_table(folder, f"commits/{chunk}.parquet", schema=schema.COMMITS).to_pylist()[0]
    if layer.spec_digest(made) != spec_digest:
        raise IntegrityError(f"chunk {chunk} changed while layer {name} was made")
    if folder.exists(layer.record(chunk)):
        record = read_table(folder, layer.record(chunk), schema=LAYER_COMMITS)
        if record["spec"][0].as_py() == spec_digest:
            return record
        folder.delete(layer.record(chunk))  # before its file is replaced: it would speak of bytes that are gone
    table = layer_table(layer, chunk, _said(rows, layer))
    reasons = Counter(_reasons(rows, table))
    data = parquet_bytes(table)
    folder.write(layer.table(chunk), data)
    record = layer_record(chunk, table, data, reasons, spec_digest)
    folder.write(layer.record(chunk), parquet_bytes(record))
    return record


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
    table = read_table(layer.folder, f"{TABLES[layer.subject]}/{chunk}.parquet", columns=keys)
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

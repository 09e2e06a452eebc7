"""commit: a finished chunk becomes files under images/, captions/ and failures/, and its record, written last.

Everything is checked: as many rows as planned, each from its planned file and with the uid of its key, none twice, each
an image or a failure. (The engine checks after every stage that rows keep their order.)
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core import schema
from capfilt.core.chunks import Chunk
from capfilt.core.config import AS_THEY_CAME, OutputSettings
from capfilt.core.errors import IntegrityError
from capfilt.core.serialization import parquet_bytes
from capfilt.core.storage import Folder
from capfilt.core.tables import read_table
from capfilt.ledger.integrity import CHUNK_TABLES
from capfilt.pipelines.stages.tombstones import Tombstones


def commit(
    rows: pa.Table, chunk: Chunk, folder: Folder, spec_digest: str, output: OutputSettings = AS_THEY_CAME
) -> pa.Table:
    """Write a finished chunk; a committed chunk is left unchanged.

    Args:
        rows: `schema.ROWS` + `schema.IMAGE_FACTS` + `candidates`, a list of `schema.candidate_type` structs; further
            columns (`pixels:...`) are not written.
        spec_digest: `Ledger.spec_digest` of the chunk.
        output: what the images were stored as.

    Returns:
        The commit record, one row of `schema.COMMITS`.

    Raises:
        IntegrityError: the rows are not the planned ones, or a row is neither an image nor a failure.
    """
    if folder.exists(f"commits/{chunk.name}.parquet"):
        return _committed(chunk, folder, spec_digest)
    rows = rows.select([name for name in rows.column_names if not name.startswith("pixels:")])
    check_rows(rows, chunk)
    forgotten = Tombstones.of(folder)
    rows = forgotten.apply(rows)  # again: `capfilt forget` may have been called since the rows were read
    alive = pc.is_null(rows["reason"])
    images, failed = rows.filter(alive), rows.filter(pc.invert(alive))
    failures = forgotten.anonymize(failures_table(failed))
    tables = {"failures": failures, "images": images_table(images, output), "captions": captions_table(images)}
    return write_chunk(tables, chunk, folder, spec_digest)


def write_chunk(tables: dict[str, pa.Table], chunk: Chunk, folder: Folder, spec_digest: str) -> pa.Table:
    """Write the tables of a chunk, in the order they come in, and then the record that makes them count."""
    files, record = chunk_files(tables, chunk, spec_digest)
    for name, data in files.items():
        folder.write(name, data)
    return record


def chunk_files(tables: dict[str, pa.Table], chunk: Chunk, spec_digest: str) -> tuple[dict[str, bytes], pa.Table]:
    """The files of a chunk by name, in the order to write them, the last one its record; and the record as a table."""
    files = {f"{name}/{chunk.name}.parquet": table_bytes(table) for name, table in tables.items()}
    record = _record(chunk, tables, files, spec_digest)
    return files | {f"commits/{chunk.name}.parquet": parquet_bytes(record)}, record


def _committed(chunk: Chunk, folder: Folder, spec_digest: str) -> pa.Table:
    """The existing record: a worker that outlived its driver arrives late and must change nothing."""
    record = read_table(folder, f"commits/{chunk.name}.parquet", schema=schema.COMMITS)
    if record["spec"][0].as_py() != spec_digest:
        raise IntegrityError(f"chunk {chunk.name} is committed already, from another spec")
    return record


def check_rows(rows: pa.Table, chunk: Chunk) -> None:
    """Check that `rows` are those of the chunk's parts, none lost or twice, and that each is an image or a failure.

    Raises:
        IntegrityError: one line that names the chunk, the row and what is wrong with it.
    """
    wanted = {*schema.ROWS.names, *schema.IMAGE_FACTS.names}
    if missing := sorted(wanted - set(rows.column_names)):
        raise IntegrityError(f"chunk {chunk.name}: no column {missing[0]}")
    if rows.num_rows != chunk.rows:
        raise IntegrityError(f"chunk {chunk.name}: {rows.num_rows} rows, expected {chunk.rows}")
    _check_identity(rows, chunk)
    alive = pc.is_null(rows["reason"])
    check_filled(rows.filter(alive), ("image", *schema.IMAGE_FACTS.names, "candidates"), chunk)
    check_filled(rows.filter(pc.invert(alive)), ("stage",), chunk)
    if strange := set(rows["reason"].drop_null().to_pylist()) - set(schema.Reason):
        raise IntegrityError(f"chunk {chunk.name}: reason {min(strange)!r} is not one of schema.Reason")


def _check_identity(rows: pa.Table, chunk: Chunk) -> None:
    identities = [part.identity for part in chunk.parts for _ in range(part.rows)]
    columns = (rows[name].to_pylist() for name in ("uid", "source", "url"))
    seen: set[str] = set()
    for index, (identity, uid, source, url) in enumerate(zip(identities, *columns, strict=True)):
        key = (source or "").removeprefix(f"{identity}#")
        # Nothing was taken off: the row is of another file.
        if key == source or uid != schema.make_uid(identity, key, url):
            raise IntegrityError(f"chunk {chunk.name}: row {index} ({source}) is not the row planned there")
        if uid in seen:
            raise IntegrityError(f"chunk {chunk.name}: row {index} ({source}) is there twice")
        seen.add(uid)


def check_filled(rows: pa.Table, names: Sequence[str], chunk: Chunk) -> None:
    """Raise IntegrityError if a row of `rows`, all alive or all failed, has no value in one of these columns."""
    for name in names:
        empty = pc.is_null(rows[name]) if name in rows.column_names else pa.repeat(True, rows.num_rows)
        if pc.any(empty).as_py():
            state = "alive" if name != "stage" else "failed"
            source = rows.filter(empty)["source"][0].as_py()
            raise IntegrityError(f"chunk {chunk.name}: {state} row {source} has no {name}")


def images_table(images: pa.Table, output: OutputSettings) -> pa.Table:
    """`schema.IMAGES` of the rows that have not failed; `image.path` is uid and format, as in `1f0a....jpg`."""
    suffix = pc.if_else(pc.equal(images["format"], "jpeg"), "jpg", images["format"])
    if output.pixels == "resized":
        suffix = pa.repeat(output.encode_format, images.num_rows)
    path = pc.binary_join_element_wise(images["uid"], suffix, ".").combine_chunks()
    image = pa.StructArray.from_arrays([images["image"].combine_chunks(), path], fields=list(schema.IMAGE))
    plain = images.select([name for name in schema.IMAGES.names if name != "image"])
    return _cast(plain.append_column("image", image), schema.IMAGES)


def failures_table(failed: pa.Table) -> pa.Table:
    """`schema.FAILURES` of the failed rows."""
    retryable = [reason.value for reason in schema.Reason if reason.has(schema.Trait.RETRYABLE)]
    column = pc.is_in(failed["reason"], pa.array(retryable, pa.string()))
    return _cast(failed.append_column("retryable", column).select(schema.FAILURES.names), schema.FAILURES)


def captions_table(images: pa.Table) -> pa.Table:
    """One row a candidate, by the row of its image and then by `candidate`; judges keep the order they came in."""
    if "candidates" not in images.column_names or pa.types.is_null(images["candidates"].type):
        return schema.captions_schema(()).empty_table()
    lists = images["candidates"].combine_chunks()
    position, items = pc.list_parent_indices(lists), pc.list_flatten(lists)
    names = [field.name for field in items.type]
    table = pa.table([images["uid"].take(position), *items.flatten()], names=["uid", *names])
    fixed = {field.name for field in schema.CANDIDATE}
    table = _cast(table, schema.captions_schema(tuple(name for name in names if name not in fixed)))
    table = table.take(pc.sort_indices(table.append_column("position", position), [_up("position"), _up("candidate")]))
    _check_once(table)
    return table


def _up(column: str) -> tuple[str, str]:
    return column, "ascending"


def _check_once(captions: pa.Table) -> None:
    uids, numbers = (captions[name].to_numpy() for name in ("uid", "candidate"))
    twice = np.flatnonzero((uids[1:] == uids[:-1]) & (numbers[1:] == numbers[:-1]))
    if len(twice):
        raise IntegrityError(f"image {uids[twice[0]]}: candidate {numbers[twice[0]]} is there twice")


def _cast(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    for field in wanted:
        if not field.nullable and field.name in table.column_names and table[field.name].null_count:
            raise IntegrityError(f"column {field.name} has empty values")
    try:
        return table.select(wanted.names).cast(wanted)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, KeyError, ValueError) as error:
        raise IntegrityError(f"rows that do not fit their table: {error}") from error


def table_bytes(table: pa.Table) -> bytes:
    """The Parquet file of a table; one with images says so in the words of Hugging Face `datasets`."""
    if "image" not in table.column_names:
        return parquet_bytes(table)
    features = {field.name: _feature(field.type) for field in table.schema}
    metadata = {"huggingface": json.dumps({"info": {"features": features}}, separators=(",", ":"))}
    return parquet_bytes(table.replace_schema_metadata(metadata), images=True)


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if kind == schema.IMAGE:
        return {"_type": "Image"}
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind}
    # Arrow's own name of float32 is "float", which `datasets` does not know.
    return {"dtype": "float32" if kind == pa.float32() else str(kind), "_type": "Value"}


def _record(chunk: Chunk, tables: dict[str, pa.Table], files: dict[str, bytes], spec_digest: str) -> pa.Table:
    reasons = tables["failures"]["reason"].value_counts().to_pylist()
    counts = {name: tables[name].num_rows for name in CHUNK_TABLES}
    record = {
        "chunk": chunk.name,
        "rows": chunk.rows,
        **counts,
        "reasons": sorted((item["values"], item["counts"]) for item in reasons),
        "files": sorted((name, hashlib.sha256(data).hexdigest()) for name, data in files.items()),
        "sizes": sorted((name, len(data)) for name, data in files.items()),
        "spec": spec_digest,
    }
    return pa.Table.from_pylist([record], schema=schema.COMMITS)

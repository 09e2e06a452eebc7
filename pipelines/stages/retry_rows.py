"""retry: failed rows of a committed chunk go through the stages once more, where another attempt may succeed.

The chunk is reopened with all its rows, so that none can get lost, but only the rows to retry are alive. At the end its
files are rewritten from the old ones and from the results of these rows; captions and scores of all other rows are
copied unchanged.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from capfilt.core import schema
from capfilt.core.chunks import Chunk
from capfilt.core.config import AS_THEY_CAME, OutputSettings
from capfilt.core.errors import IntegrityError
from capfilt.core.storage import Folder
from capfilt.core.tables import read_table
from capfilt.ledger.transaction import write_transaction
from capfilt.pipelines.stages.commit import (
    captions_table,
    check_filled,
    chunk_files,
    failures_table,
    images_table,
)
from capfilt.pipelines.stages.read import read
from capfilt.pipelines.stages.row_failures import RowFailure, mark_failed
from capfilt.pipelines.stages.tombstones import Tombstones

KEPT: Final = "kept"
"""The reason of rows that are not retried, while a chunk is open: every stage skips a row with a reason."""


@dataclass(frozen=True, slots=True)
class Committed:
    """The tables of a committed chunk."""

    images: pa.Table
    captions: pa.Table
    failures: pa.Table

    @classmethod
    def of(cls, chunk: Chunk, folder: Folder) -> Self:
        """Read them.

        Raises:
            IntegrityError: a file is not the one that was committed.
        """
        record = read_table(folder, f"commits/{chunk.name}.parquet").to_pylist()[0]
        digests = dict(record["files"])

        def table(name: str, columns: pa.Schema | None = None) -> pa.Table:
            file = f"{name}/{chunk.name}.parquet"
            data = folder.read(file)
            if hashlib.sha256(data).hexdigest() != digests[file]:
                raise IntegrityError(f"{folder.location}/{file}: its bytes are not the committed ones")
            return pq.read_table(pa.BufferReader(data), schema=columns)

        captions = table("captions")
        judges = tuple(name for name in captions.column_names if name not in schema.captions_schema(()).names)
        captions = table("captions", schema.captions_schema(judges))  # a column that an older version lacked is null
        return cls(table("images", schema.IMAGES), captions, table("failures", schema.FAILURES))


def reopen(chunk: Chunk, folder: Folder, reasons: Collection[str], rows: pa.Table | None = None) -> pa.Table:
    """The rows of a committed chunk as `schema.ROWS`. Alive are the rows with a URL that failed for one of them.

    Args:
        reasons: values of `schema.Reason` to retry.
        rows: the chunk's, where they have been read already.

    Raises:
        IntegrityError: the input gives other rows than were committed: it has changed.
    """
    rows = Tombstones.of(folder).apply(read(chunk) if rows is None else rows)
    committed = Committed.of(chunk, folder)
    failed = dict(zip(*(committed.failures[name].to_pylist() for name in ("uid", "reason")), strict=True))
    known = {*committed.images["uid"].to_pylist(), *failed}
    kept: dict[int, RowFailure] = {}
    columns = (rows[name] for name in ("uid", "url", "image", "reason"))
    for row, (uid, url, image, reason) in enumerate(zip(*columns, strict=True)):
        forgotten = reason.as_py() == schema.Reason.FORGOTTEN
        if uid.as_py() not in known and not forgotten:
            raise IntegrityError(f"chunk {chunk.name}: row {uid} was never committed: the input has changed")
        # Only what is downloaded may come out otherwise: an image that stands in the input is the same at every try.
        again = failed.get(uid.as_py()) in reasons and url.is_valid and not image.is_valid and not forgotten
        if not again:
            kept[row] = RowFailure(KEPT, KEPT)
    return mark_failed(_without_failures(rows), kept)


def _without_failures(rows: pa.Table) -> pa.Table:
    """`rows`, all alive: the reader may have failed one (an image file over the cap) that its URL can still give."""
    for name in ("stage", "reason", "detail"):
        nothing = pa.nulls(rows.num_rows, pa.string())
        rows = rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), nothing)
    return rows


def recommit(
    rows: pa.Table, chunk: Chunk, folder: Folder, spec_digest: str, output: OutputSettings = AS_THEY_CAME
) -> pa.Table:
    """Write the transaction that replaces a chunk which was opened again; `transaction.replay_pending` applies it.

    Args:
        rows: what came out of the stages of what `reopen` gave.
        output: what the images were stored as.

    Returns:
        The chunk's new commit record.

    Raises:
        IntegrityError: the rows are not those of the chunk.
    """
    if rows.num_rows != chunk.rows:
        raise IntegrityError(f"chunk {chunk.name}: {rows.num_rows} rows, expected {chunk.rows}")
    old, stones = Committed.of(chunk, folder), Tombstones.of(folder)
    # No reason: the row is alive, so it was tried, and it worked.
    tried = stones.apply(rows.filter(pc.not_equal(rows["reason"], KEPT).fill_null(True)))
    alive = pc.is_null(tried["reason"])
    images, failed = tried.filter(alive), tried.filter(pc.invert(alive))
    check_filled(images, ("image", *schema.IMAGE_FACTS.names, "candidates"), chunk)
    check_filled(failed, ("stage",), chunk)
    places = rows["uid"].combine_chunks()
    still = old.failures.filter(pc.invert(pc.is_in(old.failures["uid"], tried["uid"].combine_chunks())))
    tables = {
        "failures": stones.anonymize(_in_place([still, failures_table(failed)], places)),
        "images": _in_place([old.images, images_table(images, output)], places),
        "captions": _in_place(_alike(old.captions, captions_table(images)), places),
    }
    _check_all_there(tables, chunk)
    files, record = chunk_files(tables, chunk, spec_digest)
    write_transaction(folder, chunk.name, files)
    return record


def _in_place(tables: list[pa.Table], places: pa.Array) -> pa.Table:
    """The tables' rows together, by the row of the chunk that they belong to; those of no row (forgotten ones) last."""
    table = pa.concat_tables([one.replace_schema_metadata(None) for one in tables]).combine_chunks()
    keys = {
        "place": pc.index_in(table["uid"], value_set=places).fill_null(len(places)),
        "candidate": table["candidate"] if "candidate" in table.column_names else pa.nulls(table.num_rows, pa.int32()),
        "row": pa.array(range(table.num_rows), pa.int64()),
    }
    return table.take(pa.table(keys).sort_by([(name, "ascending") for name in keys])["row"])


def _alike(old: pa.Table, new: pa.Table) -> list[pa.Table]:
    """Two tables of captions with the same columns: one without rows may never have met a judge."""
    wide = max((old.schema, new.schema), key=len)
    return [table if table.num_rows else wide.empty_table() for table in (old, new)]


def _check_all_there(tables: dict[str, pa.Table], chunk: Chunk) -> None:
    uids = [*tables["images"]["uid"].to_pylist(), *tables["failures"]["uid"].to_pylist()]
    if len(uids) != chunk.rows or len(set(uids)) != chunk.rows:
        raise IntegrityError(f"chunk {chunk.name}: {len(uids)} rows after a retry, expected {chunk.rows}")

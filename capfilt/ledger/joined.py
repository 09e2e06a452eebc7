"""The tables of a run with its layers as further columns: what queries, policies and reports see."""

from collections.abc import Sequence

import pyarrow as pa

from capfilt.core import schema
from capfilt.core.duckdb_sandbox import JoinedTable
from capfilt.core.errors import IntegrityError
from capfilt.core.tables import read_schema, read_table
from capfilt.ledger.layers import KEYS, TABLES, Subject, by_chunk
from capfilt.ledger.layers_of_run import layers_of
from capfilt.ledger.ledger import Ledger


def captions_schema(ledger: Ledger) -> pa.Schema:
    """The columns of captions/: those of the run's judges, then those of the layers."""
    return pa.schema([*run_captions_schema(ledger), *_columns(ledger, "texts")])


def images_schema(ledger: Ledger) -> pa.Schema:
    """The columns of images/, then those of the layers."""
    return pa.schema([*schema.IMAGES, *_columns(ledger, "images")])


def run_captions_schema(ledger: Ledger) -> pa.Schema:
    """The columns that the files in captions/ have, with those of the run's own judges.

    A chunk without an image was never scored and lacks these columns, so one file alone is not enough.
    """
    plain = schema.captions_schema(()).names
    found = (read_schema(ledger.folder, f"captions/{chunk}.parquet").names for chunk in sorted(ledger.committed()))
    # By name and not by number: an older version wrote fewer columns beside those of the judges.
    judged = (tuple(name for name in names if name not in plain) for names in found)
    return schema.captions_schema(next(filter(None, judged), ()))


def captions(ledger: Ledger, chunks: Sequence[str] | None = None) -> JoinedTable:
    """captions/ for `duckdb_sandbox.connect`; `chunks` as `Ledger.dataset` takes them."""
    return _joined(ledger, "texts", run_captions_schema(ledger), chunks)


def images(ledger: Ledger) -> JoinedTable:
    """images/ for `duckdb_sandbox.connect`."""
    return _joined(ledger, "images", schema.IMAGES, None)


def _joined(ledger: Ledger, subject: Subject, columns: pa.Schema, chunks: Sequence[str] | None) -> JoinedTable:
    base = ledger.dataset(TABLES[subject], columns, chunks)
    layers = layers_of(ledger.folder, subject)
    records = by_chunk(ledger.records()) if layers else {}
    beside = tuple((layer.dataset(records), tuple(layer.columns.names)) for layer in layers)
    return JoinedTable(base, tuple(KEYS[subject].names), beside)


def _columns(ledger: Ledger, subject: Subject) -> list[pa.Field]:
    return [field for layer in layers_of(ledger.folder, subject) for field in layer.columns]


class CaptionsReader:
    """Reads captions/ chunk by chunk, with the columns of the layers beside; from several threads, if need be.

    Args:
        names: the columns to read; None = all.
    """

    def __init__(self, ledger: Ledger, names: Sequence[str] | None = None) -> None:
        whole = captions_schema(ledger)
        self.folder = ledger.folder
        self.schema = whole if names is None else pa.schema([whole.field(name) for name in names])
        own = run_captions_schema(ledger)
        self._own = pa.schema([field for field in self.schema if field.name in own.names])
        layers = [one for one in layers_of(ledger.folder, "texts") if set(one.columns.names) & set(self.schema.names)]
        records = by_chunk(ledger.records()) if layers else {}
        self._layers = [(layer, layer.standing(records).keys()) for layer in layers]

    def read(self, chunk: str) -> pa.Table:
        """The captions of a chunk; a judge that the chunk never met leaves nulls.

        Raises:
            IntegrityError: a file is damaged, or a layer has other rows than the chunk.
        """
        keys = KEYS["texts"]
        own = pa.schema([*keys, *(field for field in self._own if field.name not in keys.names)])
        table = read_table(self.folder, f"captions/{chunk}.parquet", schema=own, columns=own.names)
        for layer, chunks in self._layers:
            said = pa.table({})
            if chunk in chunks:
                said = read_table(self.folder, layer.table(chunk), columns=layer.schema.names)
                if not all(said[name].equals(table[name]) for name in keys.names):
                    raise IntegrityError(f"{self.folder.location}/{layer.table(chunk)} has other rows than the chunk")
            for column in layer.columns:
                values = said[column.name] if chunk in chunks else pa.nulls(table.num_rows, column.type)
                table = table.append_column(column, values)
        return table.select(self.schema.names).cast(self.schema).combine_chunks()


__all__ = ["CaptionsReader", "captions", "captions_schema", "images", "images_schema", "run_captions_schema"]

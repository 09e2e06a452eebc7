"""The tables of a run with its layers: what queries, policies and reports see.

A judge's layer is further columns of captions/ or images/, a captioner's layer further rows of captions/.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from capfilt.core import schema
from capfilt.core.duckdb_sandbox import JoinedTable
from capfilt.core.errors import IntegrityError
from capfilt.core.storage import Folder
from capfilt.core.tables import parquet_format, read_schema, read_table
from capfilt.ledger.layers import KEYS, Subject
from capfilt.ledger.layers_of_run import LayerState, layer_states, layers_of
from capfilt.ledger.ledger import Ledger

if TYPE_CHECKING:
    import pyarrow.dataset as ds

States = Sequence[LayerState]
"""What `layer_states` gave."""


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


def captions(ledger: Ledger) -> JoinedTable:
    """captions/ for `duckdb_sandbox.connect`, with the rows and columns of the layers."""
    states = layer_states(ledger)
    return _joined(texts_dataset(ledger, states), "texts", states)


def images(ledger: Ledger, states: States | None = None) -> JoinedTable:
    """images/ for `duckdb_sandbox.connect`, with the columns of the layers."""
    states = layer_states(ledger) if states is None else states
    return _joined(ledger.dataset("images", schema.IMAGES), "images", states)


def texts_dataset(ledger: Ledger, states: States | None = None) -> "ds.Dataset":
    """All candidates of the committed chunks with the columns of the run itself, as `CaptionsReader` orders them."""
    chunks = sorted(ledger.committed())
    own = ledger.dataset("captions", run_captions_schema(ledger), chunks)
    added = _about(layer_states(ledger) if states is None else states, "captions")
    for state in added:
        state.check()
    if not added:
        return own
    places = [
        [state.layer.folder.full(state.layer.table(chunk)) for state in added if chunk in state.standing]
        for chunk in chunks
    ]
    files = [file for first, others in zip(own.files, places, strict=True) for file in (first, *others)]
    return _dataset(ledger.folder, files, own.schema)


def _joined(base: "ds.Dataset", subject: Subject, states: States) -> JoinedTable:
    """`base` with the columns of all layers about its rows, each layer with its parts."""
    parts: dict[str, list[LayerState]] = {}
    for state in _about(states, subject):
        state.check()
        parts.setdefault(state.layer.name, []).append(state)
    beside = []
    for some in parts.values():
        layer = some[0].layer
        files = [one.layer.folder.full(one.layer.table(chunk)) for one in some for chunk in sorted(one.standing)]
        beside.append((_dataset(layer.folder, files, layer.schema), tuple(layer.columns.names)))
    return JoinedTable(base, tuple(KEYS[subject].names), tuple(beside))


def _dataset(folder: Folder, files: Sequence[str], columns: pa.Schema) -> "ds.Dataset":
    import pyarrow.dataset as ds  # imports pandas, half a second that those who only plan need not pay

    return ds.FileSystemDataset.from_paths(files, schema=columns, format=parquet_format(), filesystem=folder.filesystem)


def _about(states: States, subject: Subject) -> list[LayerState]:
    return [state for state in states if state.layer.subject == subject]


def _columns(ledger: Ledger, subject: Subject) -> list[pa.Field]:
    return [field for layer in layers_of(ledger.folder, subject) for field in layer.columns]


class CaptionsReader:
    """Reads captions/ chunk by chunk, with the rows and columns of the layers; from several threads, if need be.

    The rows of a chunk are those of its own file, then those of the captioners' layers.

    Args:
        names: the columns to read; None = all.
        states: what `layer_states` gave, to spare reading the records again.
    """

    def __init__(self, ledger: Ledger, names: Iterable[str] | None = None, states: States | None = None) -> None:
        whole = captions_schema(ledger)
        own = run_captions_schema(ledger)
        states = layer_states(ledger) if states is None else states
        self.folder = ledger.folder
        self.schema = whole if names is None else pa.schema([whole.field(name) for name in names])
        keys = KEYS["texts"]
        mine = [field for field in self.schema if field.name in own.names and field.name not in keys.names]
        self._own = pa.schema([*keys, *mine])
        self._added = _about(states, "captions")
        wanted = set(self.schema.names)
        self._beside = [one for one in _about(states, "texts") if wanted & set(one.layer.columns.names)]

    def read(self, chunk: str) -> pa.Table:
        """The captions of a chunk; a judge that the chunk never met leaves nulls.

        Raises:
            IntegrityError: a file is damaged, or a layer has other rows than the chunk.
        """
        tables = [self._read(chunk, f"captions/{chunk}.parquet", "")]
        for state in self._added:
            if chunk in state.standing:
                tables.append(self._read(chunk, state.layer.table(chunk), state.layer.name))
        return pa.concat_tables(tables).combine_chunks()

    def _read(self, chunk: str, file: str, source: str) -> pa.Table:
        """The texts of one file, with the columns of the layers that speak of it."""
        table = read_table(self.folder, file, schema=self._own, columns=self._own.names)
        for state in self._beside:
            layer = state.layer
            if layer.beside != source:
                continue
            if chunk not in state.standing:
                for column in layer.columns:
                    table = table.append_column(column, pa.nulls(table.num_rows, column.type))
                continue
            said = read_table(self.folder, layer.table(chunk), columns=layer.schema.names)
            if not all(said[name].equals(table[name]) for name in KEYS["texts"].names):
                raise IntegrityError(f"{self.folder.location}/{layer.table(chunk)} has other rows than the chunk")
            for column in layer.columns:
                table = table.append_column(column, said[column.name])
        return table.select(self.schema.names).cast(self.schema)


__all__ = [
    "CaptionsReader",
    "captions",
    "captions_schema",
    "images",
    "images_schema",
    "run_captions_schema",
    "texts_dataset",
]

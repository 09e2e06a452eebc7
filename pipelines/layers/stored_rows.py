"""The rows of a committed chunk as an annotator is shown them: stored images, and the texts that are to be judged."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core import duckdb_sandbox, schema
from capfilt.core.errors import ConfigError, IntegrityError
from capfilt.core.storage import Folder
from capfilt.core.tables import read_table
from capfilt.ledger.layers import KEYS, TABLES, Layer
from capfilt.pipelines.stages.caption import CANDIDATES, EARLIER, FIRST

Texts = dict[str, list[dict[str, Any]]]
"""Candidates by the uid of their image."""


def stored_rows(chunk: str, folder: Folder, label: str) -> pa.Table:
    """The images of a committed chunk that a layer is about as `schema.ROWS`, all alive.

    Args:
        label: `Layer.label`.

    Returns:
        With the texts to judge in the column `candidates`; for captions to write, those that there are in `earlier`,
        and in `first` the number of the first new one.
    """
    layer = Layer.read(folder, label)
    rows = _images(chunk, folder)
    if layer.where:
        chosen = pa.array(chosen_images(chunk, layer), pa.string())
        rows = rows.filter(pc.is_in(rows["uid"], chosen))
    uids = rows["uid"].to_pylist()
    if layer.subject == "images":
        return rows.append_column(CANDIDATES, _column({}, uids))
    own = _texts(folder, f"captions/{chunk}.parquet", chunk)
    if layer.subject == "captions":
        firsts = [first_new(own.get(uid, ()), layer.facts["offset"]) for uid in uids]
        return rows.append_column(EARLIER, _column(own, uids)).append_column(FIRST, pa.array(firsts, pa.int32()))
    judged = _texts(folder, Layer.read(folder, layer.beside).table(chunk), chunk) if layer.beside else own
    return rows.append_column(CANDIDATES, _column(judged, uids))


def first_new(earlier: Iterable[dict[str, Any]], offset: int) -> int:
    """The number of a layer's first caption of an image: behind the run's, and behind those of earlier layers."""
    return max((candidate["candidate"] + 1 for candidate in earlier), default=1) + offset


def chosen_images(chunk: str, layer: Layer) -> list[str]:
    """The images of a chunk for which the layer's `where` is true."""
    needed = [Layer.read(layer.folder, name) for name in layer.needs]
    tables = {}
    for subject, table in TABLES.items():
        names = askable(schema.IMAGES).names if table == "images" else None
        base = read_table(layer.folder, f"{table}/{chunk}.parquet", columns=names)
        beside = tuple(
            (read_table(layer.folder, one.table(chunk)), tuple(one.columns.names))
            for one in needed
            if one.subject == subject
        )
        tables[table] = duckdb_sandbox.JoinedTable(base, tuple(KEYS[subject].names), beside)
    return ask_where(tables, layer.where)


def askable(columns: pa.Schema) -> pa.Schema:
    """The columns of images that a condition may name: all but the bytes, which would be read for every chunk."""
    return columns.remove(columns.get_field_index("image"))


def ask_where(tables: dict[str, Any], where: str) -> list[str]:
    """The uids of `images` for which a condition is true.

    Args:
        tables: images and captions.

    Raises:
        ConfigError: it is no condition; DuckDB's message in one line.
    """
    sql = f"SELECT uid FROM images WHERE (\n{where}\n)"  # on lines of its own: it may end in a comment
    with duckdb_sandbox.connect(tables) as connection:
        try:
            statements = connection.extract_statements(sql)
            if len(statements) != 1 or not duckdb_sandbox.reads_only(connection, statements[0].query):
                raise ConfigError(f"--where {where!r}: must be one condition over the columns of images")
            return [row[0] for row in connection.execute(sql).fetchall()]
        except duckdb.Error as error:
            raise ConfigError(f"--where {where!r}: {duckdb_sandbox.one_line(error)}") from error


def _images(chunk: str, folder: Folder) -> pa.Table:
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
    return rows.cast(schema.ROWS)


def _texts(folder: Folder, file: str, chunk: str) -> Texts:
    fixed = schema.captions_schema(())
    by_uid: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_table(folder, file, columns=fixed.names, schema=fixed).to_pylist():
        by_uid[row.pop("uid")].append(row)
    images = set(read_table(folder, f"images/{chunk}.parquet", columns=["uid"])["uid"].to_pylist())
    if strange := by_uid.keys() - images:
        raise IntegrityError(f"{file}: a text of image {min(strange)}, which is not there")
    return by_uid


def _column(texts: Texts, uids: list[str]) -> pa.Array:
    return pa.array([texts.get(uid, []) for uid in uids], pa.list_(schema.candidate_type(())))

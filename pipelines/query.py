"""A run as a database: one view per table, to be read in SQL and not written."""

from typing import Any, Final

import duckdb
import pyarrow as pa

from capfilt.core import duckdb_sandbox, schema
from capfilt.core.errors import InputError, UserError
from capfilt.core.storage import Folder
from capfilt.ledger.joined import captions, captions_schema, images, images_schema
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.dedup.groups import CAPTIONS, IMAGES, read_duplicates
from capfilt.pipelines.selection.corpus import corpus_schema

DUPLICATES: Final = {"duplicates": IMAGES, "duplicate_captions": CAPTIONS}
"""Views that `capfilt dedup` fills, and their files."""


JOINED: Final = {"captions": captions, "images": images}
"""Views with the columns of the run's layers."""


def connect(folder: Folder) -> duckdb.DuckDBPyConnection:
    """A database with the views of `schemas`, only to be read.

    Only files of committed chunks are seen; decisions and corpus are empty until a selection is finished, duplicates
    and duplicate_captions until `capfilt dedup` is. `selections` has the decisions of all selections that were given a
    name. There is no way from SQL to the file system, see `capfilt.core.duckdb_sandbox`.

    Raises:
        InputError: there is no run here.
        IntegrityError: a committed file is missing.
    """
    ledger = Ledger(folder)
    if not ledger.planned and not folder.names("commits", ".parquet"):
        raise InputError(f"{folder.location}: no run here (run.toml is missing)")
    return duckdb_sandbox.connect({name: _view(ledger, name, columns) for name, columns in schemas(ledger).items()})


def schemas(ledger: Ledger) -> dict[str, pa.Schema]:
    """The columns of every view."""
    columns = captions_schema(ledger)
    return {
        "images": images_schema(ledger),
        "captions": columns,
        "failures": schema.FAILURES,
        "decisions": schema.DECISIONS,
        "corpus": corpus_schema(columns),
        "selections": pa.schema([pa.field("name", pa.string(), nullable=False), *schema.DECISIONS]),
        "commits": schema.COMMITS,
        "duplicates": schema.DUPLICATE_IMAGES,
        "duplicate_captions": schema.DUPLICATE_CAPTIONS,
    }


def _view(ledger: Ledger, name: str, columns: pa.Schema) -> Any:
    if name == "selections":
        return ledger.named_decisions(columns)
    if name in JOINED:
        return JOINED[name](ledger)
    if name in DUPLICATES:
        return read_duplicates(ledger.folder, DUPLICATES[name], columns)
    hidden = name in ("decisions", "corpus") and not ledger.selection()
    return columns.empty_table() if hidden else ledger.dataset(name, columns)


def run_query(folder: Folder, sql: str, limit: int | None = None) -> pa.Table:
    """The answer to one query over the views of `connect`.

    Args:
        limit: rows to fetch at most; None fetches all of them into memory.

    Raises:
        UserError: the SQL is wrong or gives no table; DuckDB's message in one line.
    """
    with connect(folder) as connection:
        try:
            if any(
                one.type == duckdb.StatementType.SELECT and not duckdb_sandbox.reads_only(connection, one.query)
                for one in connection.extract_statements(sql)
            ):
                raise UserError("query: only SELECT may stand in it")
            relation = connection.sql(sql)
            if relation is None:
                raise UserError("query: the SQL returns no table; use SELECT")
            table = (relation if limit is None else relation.limit(limit)).to_arrow_table()
        except duckdb.Error as error:
            raise UserError(f"query: {duckdb_sandbox.one_line(error)}") from error
    return table.rename_columns(_unique(table.column_names))


def _unique(names: list[str]) -> list[str]:
    """`names` with a number behind those that an earlier column has already."""
    taken: list[str] = []
    for name in names:
        numbered = (name, *(f"{name}_{number}" for number in range(1, len(names))))
        taken.append(next(free for free in numbered if free not in taken))
    return taken

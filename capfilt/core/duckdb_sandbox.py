"""DuckDB over given tables and nothing else: SQL of a policy or of a person can read them, and touch no file."""

import json
import os
import tempfile
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

_READING: Final = ("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE")
"""DuckDB's kinds of queries that change nothing."""


@dataclass(frozen=True, slots=True)
class JoinedTable:
    """Tables that SQL sees as one: all of `base`, and beside it columns of others, null where they have no such row."""

    base: Any
    keys: tuple[str, ...]  # columns that all of them have; a row of each, at most, per key
    beside: tuple[tuple[Any, tuple[str, ...]], ...]  # a table, and which of its columns


def connect(tables: Mapping[str, Any], memory: str = "") -> duckdb.DuckDBPyConnection:
    """An in-memory database that sees `tables` (pyarrow datasets, tables, readers, `JoinedTable`) under their names.

    pyarrow reads the files, so DuckDB needs no access to the file system at all and gets none: no COPY, ATTACH,
    read_csv('/etc/passwd'), extension or Python variable, and the lock cannot be undone. (To allow DuckDB the paths
    of our files instead would allow it to write them too: `COPY ... TO 'images/000000.parquet' (USE_TMP_FILE false)`.)
    Buckets too come by pyarrow: DuckDB's own way, httpfs, is an extension that it would fetch from the network.

    Args:
        memory: what it takes at most before it goes on in files, "1GB", with 8 threads at most, since every thread
            takes some; for SQL that `reads_only` has seen, for DuckDB lets a statement write where it spills. "" =
            no file at all, and DuckDB's own limits: 80 % of the machine's memory and all cores.
    """
    spill = Path(tempfile.gettempdir()) / f"capfilt-duckdb-{uuid.uuid4().hex}"  # made when memory ends, then removed
    limit = {"memory_limit": memory, "threads": str(min(os.cpu_count() or 1, 8))} if memory else {}
    connection = duckdb.connect(":memory:", config={"temp_directory": str(spill) if memory else "", **limit})
    for name, table in tables.items():
        _register_table(connection, name, table)
    for setting in (
        "python_enable_replacements = false",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        connection.execute(f"SET {setting}")
    return connection


def _register_table(connection: duckdb.DuckDBPyConnection, name: str, table: Any) -> None:
    if not isinstance(table, JoinedTable) or not table.beside:
        _register(connection, name, table.base if isinstance(table, JoinedTable) else table)
        return
    _register(connection, f"{name} alone", table.base)
    columns, joins = ["base.*"], ""
    for number, (other, names) in enumerate(table.beside):
        _register(connection, f"{name} beside {number}", other)
        columns += [f"b{number}.{quoted(column)}" for column in names]
        equal = " AND ".join(f"b{number}.{quoted(key)} = base.{quoted(key)}" for key in table.keys)
        joins += f" LEFT JOIN {quoted(f'{name} beside {number}')} b{number} ON {equal}"
    view = f"SELECT {', '.join(columns)} FROM {quoted(f'{name} alone')} base{joins}"
    connection.execute(f"CREATE VIEW {quoted(name)} AS {view}")


def is_vector(kind: pa.DataType) -> bool:
    """Whether a column of this type holds embeddings."""
    return bool(pa.types.is_fixed_size_list(kind))


def _register(connection: duckdb.DuckDBPyConnection, name: str, table: Any) -> None:
    if any(is_vector(field.type) for field in table.schema):
        # DuckDB knows no 16-bit floats.
        kinds = [
            pa.list_(pa.float32(), one.type.list_size) if is_vector(one.type) else one.type for one in table.schema
        ]
        columns = pa.schema([one.with_type(kind) for one, kind in zip(table.schema, kinds, strict=True)])
        if hasattr(table, "files"):
            # `replace_schema` refuses other types, though a scan casts to them.
            facts = {"format": table.format, "filesystem": table.filesystem}
            table = type(table).from_paths(table.files, schema=columns, **facts)
        else:
            table = table.cast(columns)
    connection.register(name, table)


def reads_only(connection: duckdb.DuckDBPyConnection, sql: str) -> bool:
    """Whether one statement does nothing but SELECT, to its depth: a CTE may hold COPY, INSERT, UPDATE or DELETE."""
    asked = connection.execute("SELECT json_serialize_sql($sql::VARCHAR)", {"sql": sql}).fetchall()
    waiting = [json.loads(asked[0][0])]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            kind = str(part.get("type", ""))
            if part.get("error") is True or (kind.endswith("_NODE") and kind not in _READING):
                return False
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return True


def quoted(name: str) -> str:
    """A column's or function's name as an SQL identifier, whatever a judge is called."""
    return '"' + name.replace('"', '""') + '"'


def one_line(error: duckdb.Error) -> str:
    """DuckDB's message without its picture of the place, in one line."""
    lines = [line.strip() for line in str(error).split("\nLINE ")[0].splitlines()]
    return " ".join(line for line in lines if line)

"""SQLite databases: the one table that has images, their URLs or paths."""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final

import pyarrow as pa

from capfilt.core import config
from capfilt.core.errors import InputError
from capfilt.core.storage import split_url
from capfilt.pipelines.readers.columnar.image_column import IMAGE_NAMES
from capfilt.pipelines.readers.columnar.reader import ColumnarReader
from capfilt.pipelines.readers.columnar.table import DAMAGE, Table
from capfilt.pipelines.readers.files.failures import NotAnInput, reason_of
from capfilt.pipelines.readers.files.open import is_local, read_head
from capfilt.pipelines.readers.files.pictures import MAX_IMAGE_BYTES
from capfilt.pipelines.readers.rows import columns
from capfilt.pipelines.readers.rows.choices import Choice
from capfilt.pipelines.readers.rows.reader import InputFile
from capfilt.pipelines.readers.text.texts import decode

_MARK: Final = b"SQLite format 3\0"
_GROUP: Final = 8192  # rows
_LOOKED_AT: Final = 100  # rows whose values tell the type of a column: SQLite itself knows none


class SqliteTable(Table):
    """The table with images; its groups are ranges of its rowid.

    Raises:
        InputError: it cannot be opened.
        NotAnInput: no SQLite database, or one without a table of images, or with several.
    """

    def __init__(self, location: str) -> None:
        self._path = _checked(location)
        try:
            with _opened(self._path) as database:
                self.name = _table(database, location)
                self._starts = _starts(self._path, os.stat(self._path).st_mtime_ns, self.name)
                self.schema = _schema(database, self.name)
                self.groups = [self._rows(database, group) for group in range(len(self._starts))]
        except DAMAGE as error:
            raise InputError(f"{location}: {reason_of(error)}") from error

    def _batches(self, group: int, columns: Sequence[str] | None, size: int) -> Iterator[pa.RecordBatch]:
        schema = self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])
        names = ", ".join(map(_quoted, schema.names))
        query = f"SELECT {names} FROM {_quoted(self.name)} WHERE {self._range(group)} ORDER BY rowid"
        with _opened(self._path) as database:
            found = database.execute(query)
            while rows := found.fetchmany(size):
                values = zip(*rows, strict=True)
                arrays = [_array(some, field.type) for some, field in zip(values, schema, strict=True)]
                yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def stored_bytes(self, group: int, column: str) -> int:
        query = f"SELECT sum(length({_quoted(column)})) FROM {_quoted(self.name)} WHERE {self._range(group)}"
        with _opened(self._path) as database:
            return int(database.execute(query).fetchone()[0] or 0)

    def _rows(self, database: sqlite3.Connection, group: int) -> int:
        query = f"SELECT count(*) FROM {_quoted(self.name)} WHERE {self._range(group)}"
        return int(database.execute(query).fetchone()[0])

    def _range(self, group: int) -> str:
        begin, end = self._starts[group], self._starts[group + 1 : group + 2]
        return f"rowid >= {begin}" + "".join(f" AND rowid < {one}" for one in end)


class SqliteReader(ColumnarReader):
    """One row a row, by rowid."""

    name = "sqlite"
    about = "an SQLite database with one table of URLs, paths or image bytes"
    suffixes = ("sqlite", "sqlite3", "db")
    marks = (_MARK,)

    def open(self, location: str) -> Table:
        return SqliteTable(location)

    def choices(self, file: InputFile, settings: config.InputSettings) -> list[Choice]:
        table = Choice("table", SqliteTable(file.location).name, "the only one with images, URLs or paths")
        return [table, *super().choices(file, settings)]


def _checked(location: str) -> str:
    """The path of a database that holds all that was written to it."""
    filesystem, path = split_url(location)
    if read_head(location, len(_MARK)) != _MARK:
        raise NotAnInput(f"{location}: not an SQLite database")
    if not is_local(filesystem):
        raise InputError(f"{location}: an SQLite database is read from a disk only; copy it, or write it as Parquet")
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        raise InputError(f"{location}: another program writes it ({log.name}); close that, or checkpoint the log")
    return path


@contextmanager
def _opened(path: str) -> Iterator[sqlite3.Connection]:
    """The database, never written to: no log, no journal beside it. It may be a stranger's, so its schema runs nothing.

    Raises:
        ValueError: it is damaged; one of `DAMAGE`, as other formats raise.
    """
    try:
        # immutable: without it SQLite locks the file and may write a log beside it, in a folder that is the user's.
        with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?immutable=1", uri=True)) as database:
            database.text_factory = decode  # what is not UTF-8 is repaired, as everywhere
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_IMAGE_BYTES)
            database.execute("PRAGMA trusted_schema = OFF")
            yield database
    except sqlite3.DatabaseError as error:
        raise ValueError(str(error)) from error


def _table(database: sqlite3.Connection, location: str) -> str:
    """The name of the one table with a column that is called like an image, a URL or a path."""
    # NOT wr: a table WITHOUT ROWID has no numbers to find its rows by.
    listed = database.execute(
        "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND NOT wr"
        " AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
    )
    known = [name for (name,) in listed]
    wanted = columns.URL_NAMES + columns.PATH_NAMES + IMAGE_NAMES
    able = [name for name in known if columns.usual(_columns(database, name), wanted)]
    if len(able) == 1:
        return str(able[0])
    if able:
        raise NotAnInput(f"{location}: several tables hold images ({', '.join(able)}); write one as Parquet or .csv")
    raise NotAnInput(f"{location}: no table has a column with images, URLs or paths; tables: {', '.join(known)}"[:300])


def _columns(database: sqlite3.Connection, table: str) -> list[str]:
    return [name for (name,) in database.execute("SELECT name FROM pragma_table_info(?)", (table,))]


def _schema(database: sqlite3.Connection, table: str) -> pa.Schema:
    names = _columns(database, table)
    listed = ", ".join(map(_quoted, names))  # not *: that has generated columns as well, and computes them
    rows = database.execute(f"SELECT {listed} FROM {_quoted(table)} ORDER BY rowid LIMIT {_LOOKED_AT}").fetchall()
    binary = [any(isinstance(row[at], bytes) for row in rows) for at in range(len(names))]
    kinds = [pa.large_binary() if is_binary else pa.large_string() for is_binary in binary]
    return pa.schema(list(zip(names, kinds, strict=True)))


def _array(values: Sequence[object], kind: pa.DataType) -> pa.Array:
    """Values of whatever types as those of one."""
    to_text = pa.types.is_large_string(kind)
    return pa.array([None if one is None else _text(one) if to_text else _bytes(one) for one in values], kind)


def _text(value: object) -> str:
    return decode(value) if isinstance(value, (str, bytes)) else str(value)


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


@lru_cache(maxsize=64)
def _starts(path: str, changed: int, table: str) -> tuple[int, ...]:
    """The first rowid of every `_GROUP` rows of a database of that time of change; kept, for it walks all rows."""
    query = (
        f"SELECT id FROM (SELECT rowid AS id, row_number() OVER (ORDER BY rowid) AS place FROM {_quoted(table)})"
        f" WHERE place % {_GROUP} = 1"
    )
    with _opened(path) as database:
        return tuple(number for (number,) in database.execute(query))


def _quoted(name: str) -> str:
    from capfilt.core.duckdb_sandbox import quoted  # here: it imports DuckDB, which planning other files does without

    return quoted(name)

"""Input formats. To add one: a class of `rows.reader.Reader` in a file of its own, and its name in `READERS`.

An installed package brings one as an entry point of the group `capfilt.readers`, under the reader's own name.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib.metadata import EntryPoint
from typing import Final

from capfilt.core.chunks import Part
from capfilt.core.errors import ConfigError
from capfilt.core.plugins import READERS as GROUP
from capfilt.core.plugins import load, package, plugins
from capfilt.pipelines.readers.columnar.arrow import ArrowReader
from capfilt.pipelines.readers.columnar.orc import OrcReader
from capfilt.pipelines.readers.columnar.parquet import ParquetReader
from capfilt.pipelines.readers.databases.sqlite import SqliteReader
from capfilt.pipelines.readers.documents.reader import DocumentReader
from capfilt.pipelines.readers.folder.folder import FolderReader
from capfilt.pipelines.readers.limited_reader import LimitedReader
from capfilt.pipelines.readers.lists.reader import ListReader
from capfilt.pipelines.readers.rows.reader import BrokenReader, Reader
from capfilt.pipelines.readers.shards.webdataset import WebdatasetReader
from capfilt.pipelines.readers.text.hygiene import clean_key

__all__ = ["READERS", "Reader", "all_readers", "reader_named", "redacted"]

READERS: Final[dict[str, Reader]] = {
    reader.name: reader
    for reader in (
        DocumentReader(),
        ListReader(),
        ParquetReader(),
        ArrowReader(),
        OrcReader(),
        SqliteReader(),
        WebdatasetReader(),
        FolderReader(),
        BrokenReader(),
    )
}
"""Those that ship, by name. Where two read files of one suffix, the first that accepts a file reads it."""


def all_readers() -> dict[str, Reader]:
    """Readers by name: those of installed packages first, for whoever installs one wants it to be asked.

    Raises:
        ConfigError: a package brings a reader that cannot be loaded, or one under another name than its own.
    """
    return {name: _loaded(name, entry) for name, entry in plugins(GROUP).items()} | READERS


def reader_named(name: str, memory: int = 0) -> Reader:
    """The reader that a plan names.

    Args:
        memory: bytes that reading may take, in a process of its own; 0 = in this one, without a limit.

    Raises:
        ConfigError: no such reader: the package that brought it is not installed here.
    """
    found = READERS.get(name) or all_readers().get(name)
    if found is None:
        raise ConfigError(f"reader {name!r}: no such input format; is the package that brings it installed here?")
    return LimitedReader(found, memory) if memory and found.limited else found


@cache
def _loaded(name: str, entry: EntryPoint) -> Reader:
    reader = load(entry)()
    if not isinstance(reader, Reader) or reader.name != name or name in READERS:
        raise ConfigError(f"{GROUP}: {name} of package {package(entry)} is not a Reader of that name")
    return reader


def redacted(part: Part, gone: Callable[[str], bool]) -> Part:
    """`part` without the names of the rows that are gone; its reader gives a forgotten row in place of each.

    Args:
        gone: whether a row with this `source` (identity + "#" + key) is to be forgotten.
    """
    reader = reader_named(part.reader)
    return replace(part, where=reader.redacted(part, lambda key: gone(f"{part.identity}#{clean_key(key)}")))

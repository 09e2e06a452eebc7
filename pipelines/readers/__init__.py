"""Input formats. To add one: a class of `rows.reader.Reader` in a file of its own, and its name in `READERS`."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from capfilt.core.chunks import Part
from capfilt.pipelines.readers.columnar.arrow import ArrowReader
from capfilt.pipelines.readers.columnar.orc import OrcReader
from capfilt.pipelines.readers.columnar.parquet import ParquetReader
from capfilt.pipelines.readers.documents.reader import DocumentReader
from capfilt.pipelines.readers.folder.folder import FolderReader
from capfilt.pipelines.readers.lists.reader import ListReader
from capfilt.pipelines.readers.rows.reader import BrokenReader, Reader
from capfilt.pipelines.readers.shards.webdataset import WebdatasetReader
from capfilt.pipelines.readers.text.hygiene import clean_key

__all__ = ["READERS", "Reader", "redacted"]

READERS: Final[dict[str, Reader]] = {
    reader.name: reader
    for reader in (
        DocumentReader(),
        ListReader(),
        ParquetReader(),
        ArrowReader(),
        OrcReader(),
        WebdatasetReader(),
        FolderReader(),
        BrokenReader(),
    )
}
"""By name. Where two read files of one suffix, the first that accepts a file reads it."""


def redacted(part: Part, gone: Callable[[str], bool]) -> Part:
    """`part` without the names of the rows that are gone; its reader gives a forgotten row in place of each.

    Args:
        gone: whether a row with this `source` (identity + "#" + key) is to be forgotten.
    """
    reader = READERS[part.reader]
    return replace(part, where=reader.redacted(part, lambda key: gone(f"{part.identity}#{clean_key(key)}")))

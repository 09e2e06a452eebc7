"""Captions of a shard that stand in a file beside it, by the names of its members or by their keys."""

from typing import Final

from capfilt.core import config
from capfilt.core.chunks import Json
from capfilt.core.errors import InputError
from capfilt.pipelines.readers.columnar.parquet import ParquetTable
from capfilt.pipelines.readers.columnar.values import records_in
from capfilt.pipelines.readers.files.failures import Unreadable
from capfilt.pipelines.readers.files.packing import data_suffix
from capfilt.pipelines.readers.limited import limited
from capfilt.pipelines.readers.lists.detect import layout_of
from capfilt.pipelines.readers.lists.layout import entries
from capfilt.pipelines.readers.rows.columns import Names, Record, find_texts, region_columns, text_columns, usual
from capfilt.pipelines.readers.rows.columns import find as find_reference
from capfilt.pipelines.readers.rows.rows import Entry
from capfilt.pipelines.readers.text.encoding import UnnamedEncoding
from capfilt.pipelines.readers.text.regions import Text, packed, unpacked

SUFFIXES = ("csv", "tsv", "jsonl", "parquet")
"""What a sidecar may be, likeliest first."""

Texts = dict[str, list[Text]]
"""Captions by the name or key of the member they are about."""

MEMORY: Final = config.InputSettings().memory

# Columns that name a member, likeliest first.
_KEYS = ("key", "__key__", "sample_id", "image_id", "id")
_LOG = {"url", "key", "status"}  # columns of img2dataset's own record of a shard, whose texts are in the shard


def sidecar_texts(location: str, text: str | tuple[str, ...] = "auto", encoding: str = "auto") -> Texts:
    """The captions that a sidecar gives, read in a process of its own; `text` and `encoding` are those of the recipe.

    Raises:
        ConfigError, InputError: it is no table of names and texts.
    """
    texts: Texts = {}
    asked = {"location": location, "text": text, "encoding": encoding}
    try:
        for name, found in limited.values("sidecar", asked, MEMORY):
            texts.setdefault(name.removeprefix("./"), []).extend(map(unpacked, found))
    except Unreadable as error:
        raise InputError(f"{location}: {error}") from error
    return texts


def texts_here(location: str, text: str | tuple[str, ...], encoding: str) -> list[tuple[str, list[Json]]]:
    """Names and packed captions of a sidecar, read in this process and without a limit; raises as `sidecar_texts`."""
    is_columnar = data_suffix(location.partition("?")[0]) == "parquet"
    return _keyed(location, text) if is_columnar else _listed(location, text, encoding)


def _listed(location: str, text: str | tuple[str, ...], encoding: str) -> list[tuple[str, list[Json]]]:
    layout = layout_of(location, config.InputSettings(encoding=encoding))
    wanted = _wanted(layout.header or layout.keys, text)
    found = (_named(entry, wanted) for entry in entries(location, layout))
    return [one for one in found if one]


def _keyed(location: str, text: str | tuple[str, ...]) -> list[tuple[str, list[Json]]]:
    table = ParquetTable(location)
    names = tuple(table.schema.names)
    keys = usual(names, _KEYS)
    if not keys or set(names) >= _LOG:
        raise InputError(f"{location}: no table of keys and texts")
    wanted = _wanted(names, text)
    columns = list(dict.fromkeys([keys[0], *text_columns(names, wanted), *region_columns(names)]))
    records = (
        record
        for group in range(len(table.groups))
        for batch in table.batches(group, columns, 8192)
        for record in records_in(batch)
    )
    try:
        return [(str(record[keys[0]]), _packed(record, wanted)) for record in records]
    except ValueError as error:  # a text that is not UTF-8
        raise UnnamedEncoding(f"{location}: {error}") from error


def _wanted(header: tuple[str, ...], text: str | tuple[str, ...]) -> str | tuple[str, ...]:
    return text if isinstance(text, tuple) or text in (*header, "none") else "auto"


def _named(entry: Entry, text: str | tuple[str, ...]) -> tuple[str, list[Json]] | None:
    if isinstance(entry, ValueError):
        return None
    record: Record = entry
    path = find_reference(record, Names(text="none")).path
    return (path, _packed(record, text)) if path else None


def _packed(record: Record, text: str | tuple[str, ...]) -> list[Json]:
    return [packed(one) for one in find_texts(record, text)]

"""How a text list is laid out: format, columns, with or without a header."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from capfilt.core import config
from capfilt.core.chunks import Json
from capfilt.core.errors import ConfigError, InputError
from capfilt.pipelines.readers import columns, records
from capfilt.pipelines.readers.base import Broken
from capfilt.pipelines.readers.columns import Names, Record
from capfilt.pipelines.readers.files import open_file, reason_of
from capfilt.pipelines.readers.rows import Entry
from capfilt.pipelines.readers.text import decode

EXTENSIONS: Final = ("csv", "tsv", "jsonl", "json", "txt")
UNREADABLE: Final = (EOFError, zlib.error, gzip.BadGzipFile, Broken)
"""What a file that breaks off raises while it is read (never an error of the file system)."""

_HEAD: Final = 1 << 20
_SAMPLE: Final = 100
_PICTURE: Final = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?|avif)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one text list."""

    kind: str  # csv, tsv, jsonl, json (one array) or txt
    names: Names
    delimiter: str = ","
    header: tuple[str, ...] = ()  # column names of csv and tsv, made up where the file has none
    begin: int = 0  # byte offset of the first record, after the header

    def split(self, stream: io.BufferedIOBase) -> Iterator[bytes]:
        """Pieces of `stream`, see `records`."""
        if self.kind == "csv":
            return records.csv_lines(self.delimiter)(stream)
        return records.array_elements(stream) if self.kind == "json" else records.lines(stream)

    def is_blank(self, piece: bytes) -> bool:
        """Whether a piece holds no record. (A row of empty fields is a record.)"""
        filler = {"json": b" \t\r\n[],", "tsv": b" \r\n"}.get(self.kind, b" \t\r\n")
        return not piece.strip(filler + b"\xef\xbb\xbf")

    def entry(self, piece: bytes) -> Entry:
        """The columns of one piece, or why it cannot be parsed."""
        try:
            return self._record(piece)
        except ValueError as error:
            return error

    def fields(self, piece: bytes) -> list[str]:
        """The fields of a csv or tsv piece; `ValueError` if it cannot be parsed."""
        return records.tsv_fields(piece) if self.kind == "tsv" else records.csv_fields(piece, self.delimiter)

    def to_json(self) -> dict[str, Json]:
        """What reading a slice needs, for `Part.where`."""
        names = {"url": self.names.url, "text": self.names.text}
        return {"kind": self.kind, "delimiter": self.delimiter, "header": list(self.header), **names}

    @classmethod
    def from_json(cls, where: Mapping[str, Any]) -> "Layout":
        """The layout that `to_json` wrote, with `begin` left out."""
        return cls(where["kind"], Names(where["url"], where["text"]), where["delimiter"], tuple(where["header"]))

    def _record(self, piece: bytes) -> Record:
        if self.kind in ("jsonl", "json"):
            return records.json_object(piece)
        if self.kind == "txt":
            line = decode(piece).strip()
            return {"url" if "://" in line else "path": line}
        fields = self.fields(piece)
        if len(fields) != len(self.header):
            raise ValueError(f"{len(fields)} columns, expected {len(self.header)}")
        return dict(zip(self.header, fields, strict=True))


def list_extension(location: str) -> str:
    """`csv` of `a/b.csv.gz`; empty for what is no text list."""
    name = location.split("?")[0] if "://" in location else location
    match = re.search(r"\.(\w+)(\.gz)?$", name.rsplit("/", 1)[-1].lower())
    return match[1] if match and match[1] in EXTENSIONS else ""


def layout_of(location: str, settings: config.InputSettings) -> Layout:
    """Look at the head of a list.

    Raises:
        InputError: it cannot be opened or unpacked, or is no JSON though its name says so.
        ConfigError: no usable column, or no list at all (.json and .txt can be many things).
    """
    extension = list_extension(location)
    head = _head(location)
    if not head.strip(b" \t\r\n\xef\xbb\xbf"):
        return Layout(extension, Names())
    if extension == "txt":
        return _text_layout(location, head)
    if extension in ("csv", "tsv"):
        return _table_layout(location, extension, head, Names.of(settings))
    return _json_layout(location, extension, head, Names.of(settings))


def entries(location: str, layout: Layout) -> Iterator[Entry]:
    """Every record of a list, up to where the file breaks off, if it does."""
    with open_file(location) as stream:
        stream.seek(layout.begin)
        try:
            for piece in layout.split(stream):
                if not layout.is_blank(piece):
                    yield layout.entry(piece)
        except UNREADABLE:
            return


def _head(location: str) -> bytes:
    head = b""
    with open_file(location) as stream:
        try:
            while len(head) < _HEAD and (more := stream.read1(1 << 16)):
                head += more
        except UNREADABLE as error:
            if not head:
                raise InputError(f"{location}: {reason_of(error)}") from error
    return head


def _text_layout(location: str, head: bytes) -> Layout:
    sample = [decode(line).strip() for line in head.splitlines()[:_SAMPLE]]
    if not any("://" in line or _PICTURE.search(line) for line in sample):
        raise ConfigError(f"{location}: a .txt list has one URL (or path) a line, but its first lines hold none")
    return Layout("txt", Names())


def _json_layout(location: str, extension: str, head: bytes, names: Names) -> Layout:
    is_array = extension == "json" and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    layout = Layout("json" if is_array else "jsonl", names)
    good = [entry for entry in map(layout.entry, _sample(layout, head)) if not isinstance(entry, ValueError)]
    keys = list(dict.fromkeys(key for entry in good for key in entry))
    if not keys and extension == "jsonl":
        raise InputError(f"{location}: its first lines are no JSON objects")
    if not keys:
        raise ConfigError(f"{location}: neither an array of objects nor one object a line")
    columns.check(keys, names, location)
    return layout


def _table_layout(location: str, kind: str, head: bytes, names: Names) -> Layout:
    delimiter = "\t" if kind == "tsv" else _delimiter(head)
    layout = Layout(kind, names, delimiter)
    pieces = _sample(layout, head)
    table = [_fields(layout, piece) for piece in pieces]
    first = [field.strip() for field in table[0]]
    if _is_header(first, names):
        columns.check(first, names, location)
        return Layout(kind, names, delimiter, tuple(first), head.index(pieces[0]) + len(pieces[0]))
    header = _made_up_header([row for row in table if len(row) == len(first)])
    columns.check(header, names, location)
    return Layout(kind, names, delimiter, tuple(header), 0)


def _sample(layout: Layout, head: bytes) -> list[bytes]:
    """The first pieces with a record in them; at least one."""
    found: list[bytes] = []
    try:
        for piece in layout.split(io.BytesIO(head)):
            if not layout.is_blank(piece):
                found.append(piece)
            if len(found) == _SAMPLE:
                break
    except Broken:  # the head may end in the middle of an element
        return found
    return found


def _fields(layout: Layout, piece: bytes) -> list[str]:
    try:
        return layout.fields(piece)
    except ValueError:
        return [decode(piece)]


def _delimiter(head: bytes) -> str:
    first = next((line for line in head.splitlines() if line.strip()), b"")
    counts = {mark: first.count(mark.encode()) for mark in (",", ";", "\t", "|")}
    return "," if counts[","] else max(counts, key=lambda mark: counts[mark])


def _is_header(first: list[str], names: Names) -> bool:
    """A header names columns: it holds a usual or a given name, or at least neither a URL nor a picture's path."""
    if names.url in first or columns.usual(first, columns.URL_NAMES + columns.PATH_NAMES):
        return True
    return not any("://" in field or _PICTURE.search(field) for field in first)


def _made_up_header(table: list[list[str]]) -> list[str]:
    """Names for the columns of a file without a header: `url` or `path`, `text` (the longest other), else a number."""
    width = len(table[0])
    values = [[row[column] for row in table] for column in range(width)]
    scores = [sum("://" in value or bool(_PICTURE.search(value)) for value in column) for column in values]
    reference = scores.index(max(scores))
    header = [str(column) for column in range(width)]
    header[reference] = "url" if any("://" in value for value in values[reference]) else "path"
    lengths = [sum(map(len, column)) if number != reference else -1 for number, column in enumerate(values)]
    if width > 1:
        header[lengths.index(max(lengths))] = "text"
    return header

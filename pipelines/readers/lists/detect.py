"""Finding out how a text list is laid out, by its name, the settings and its first records."""

import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from capfilt.core import config
from capfilt.core.errors import ConfigError, InputError
from capfilt.core.storage import split_url
from capfilt.pipelines.readers.files.failures import UNREADABLE, Broken, NotAnInput, reason_of
from capfilt.pipelines.readers.files.open import open_file
from capfilt.pipelines.readers.files.packing import data_suffix
from capfilt.pipelines.readers.lists import records
from capfilt.pipelines.readers.lists.dialect import fit_of, sniff
from capfilt.pipelines.readers.lists.headerless import YFCC, made_up_header
from capfilt.pipelines.readers.lists.layout import Layout, record_of
from capfilt.pipelines.readers.rows import columns
from capfilt.pipelines.readers.rows.columns import Names, Record
from capfilt.pipelines.readers.rows.references import is_embedded, is_reference
from capfilt.pipelines.readers.text.encoding import UnknownEncoding, UnnamedEncoding, blocks_of, encoding_of
from capfilt.pipelines.readers.text.texts import decode

EXTENSIONS: Final = ("csv", "tsv", "jsonl", "ndjson", "json", "txt")

_HEAD: Final = 1 << 20
_LONG_HEAD: Final = 16 << 20  # of JSON, whose first line may hold an image
_SAMPLE: Final = 100
_TABLE: Final = 0.8  # share of the lines of a .txt that must have a reference in a column for it to be a table
_FORM_ENCODED: Final = ("title", "description")  # of YFCC100M


def list_extension(location: str) -> str:
    """`csv` of `a/b.csv.gz`; empty for what is no text list by its name."""
    suffix = data_suffix(location.split("?")[0] if "://" in location else location)
    return suffix if suffix in EXTENSIONS else ""


def layout_of(location: str, settings: config.InputSettings) -> Layout:
    """Look at a list.

    Raises:
        InputError: it cannot be opened or unpacked, or is no JSON though its name says so.
        NotAnInput: it is no list of images (.json and .txt can be many things).
        ConfigError: no usable column, or an encoding that cannot be told.
    """
    extension = list_extension(location)
    encoding = encoding_at(location, settings)
    long = min(_LONG_HEAD, records.MAX_ARRAY)
    head = _head(location, encoding, long if extension in ("json", "jsonl", "ndjson") else _HEAD)
    extension = _by_content(head, extension)
    names = Names.of(settings)
    if not head.strip(b" \t\r\n\xef\xbb\xbf"):
        return Layout("jsonl" if extension == "ndjson" else extension, Names())
    _check_line_ends(location, head)
    if extension in ("csv", "tsv", "txt"):
        return _table_layout(location, extension, head, names, encoding, settings)
    return _json_layout(location, extension, head, names, encoding)


def encoding_at(location: str, settings: config.InputSettings) -> str:
    """The encoding of a text file: as the recipe says, or by its bytes; empty where all of it is UTF-8.

    Raises:
        ConfigError: it cannot be told.
    """
    if settings.encoding != "auto":
        return settings.encoding
    filesystem, path = split_url(location)
    info = filesystem.get_file_info(path)
    try:
        return _detected(location, info.size or 0, info.mtime_ns or 0)
    except UnknownEncoding as error:
        raise UnnamedEncoding(f"{location}: {error}") from error


@lru_cache(maxsize=4096)
def _detected(location: str, size: int, changed: int) -> str:
    """By the whole file, of this size and time of change: one odd line among a million is enough to matter."""
    with open_file(location) as stream:
        try:
            return encoding_of(blocks_of(stream))
        except UNREADABLE:
            return ""


def _head(location: str, encoding: str, size: int) -> bytes:
    head = b""
    with open_file(location, encoding or "utf-8") as stream:
        try:
            while len(head) < size and (more := stream.read1(1 << 16)):
                head += more
        except UNREADABLE as error:
            if not head:
                raise InputError(f"{location}: {reason_of(error)}") from error
    return head[:size]


def _by_content(head: bytes, extension: str) -> str:
    """The extension that a list should have: JSON is JSON whatever the file is called."""
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if re.match(rb"\[\s*\{", begin):
        return "json"
    line = begin.partition(b"\n")[0].rstrip(b"\r, ")
    if extension in ("csv", "tsv", "txt") and begin.startswith(b"{") and _is_object(line):
        return "jsonl"
    return extension or ("jsonl" if begin[:1] in (b"{", b"[") else "csv")


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _check_line_ends(location: str, head: bytes) -> None:
    """Refuse a file whose lines end as they did on old Macs: it would be one line."""
    if b"\n" not in head and head.rstrip(b"\r").count(b"\r") > 0:
        raise ConfigError(f"{location}: its lines end in a carriage return alone; convert them to line feeds")


def _json_layout(location: str, extension: str, head: bytes, names: Names, encoding: str) -> Layout:
    is_array = head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
    layout = Layout("json" if is_array else "jsonl", names, encoding=encoding)
    good = _good_ones(layout, head)
    if not good and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):  # objects that span lines
        layout = replace(layout, kind="json")
        good = _good_ones(layout, head)
    keys = list(dict.fromkeys(key for entry in good for key in entry))
    if not keys and extension != "json":
        raise InputError(f"{location}: its first lines are no JSON objects")
    if not keys:
        raise NotAnInput(f"{location}: neither an array of objects nor one object a line")
    return replace(layout, keys=tuple(keys), names=columns.check(keys, names, location, good))


def _good_ones(layout: Layout, head: bytes) -> list[Record]:
    return [entry for entry in map(layout.entry, _sample(layout, head)) if not isinstance(entry, ValueError)]


def _table_layout(
    location: str, extension: str, head: bytes, names: Names, encoding: str, settings: config.InputSettings
) -> Layout:
    skipped = _preamble(head)
    head = head[skipped:]
    lines = [decode(line).strip() for line in head.splitlines()[:_SAMPLE] if line.strip()]
    fit = sniff(head, "\t" if extension == "tsv" else _usual_delimiter(lines), settings)
    if extension == "txt":
        if settings.delimiter == "auto" and all(map(is_reference, lines)):
            return Layout("txt", Names(), begin=skipped, encoding=encoding)
        if settings.delimiter == "auto" and (fit.width == 1 or fit.listed < _TABLE):
            return replace(_odd_lines(location, lines, encoding), begin=skipped)
    dialect = fit.dialect
    kind = "tsv" if dialect.delimiter == "\t" and extension == "tsv" else "csv"
    spanning = kind == "csv" or fit_of(head, dialect, spanning=False).spoiled > fit.spoiled
    layout = Layout(kind, names, dialect, spanning=spanning, encoding=encoding)
    pieces = _sample(layout, head)
    table = [_fields(layout, piece) for piece in pieces]
    first = [name.strip() for name in table[0]]
    if settings.header == "yes" or (settings.header == "auto" and _is_header(first, names)):
        names = columns.check(first, names, location, _records(first, table[1:]))
        begin = skipped + head.index(pieces[0]) + len(pieces[0])
        return Layout(kind, names, dialect, tuple(first), begin, encoding, spanning)
    header = made_up_header([row for row in table if len(row) == len(first)])
    form = _FORM_ENCODED if header[-len(YFCC) :] == list(YFCC) else ()
    names = Names(names.url, form) if form and names.text == "auto" else names
    names = columns.check(header, names, location, _records(header, table))
    return Layout(kind, names, dialect, tuple(header), skipped, encoding, spanning, form)


def _preamble(head: bytes) -> int:
    """Bytes of the lines above a table: Excel's `sep=;`, and comments, which begin with # and are no header."""
    size = 0
    for line in head.splitlines(keepends=True):
        text = decode(line).strip()
        is_comment = text.startswith("#") and not _is_row_or_header(text.lstrip("# "))
        if not (is_comment or (not size and re.fullmatch(r"(?i)sep=.", text))):
            return size
        size += len(line)
    return 0


def _is_row_or_header(line: str) -> bool:
    fields = [one.strip() for one in re.split(r"[,;|\t]", line)]
    known = columns.usual(fields, columns.URL_NAMES + columns.PATH_NAMES)
    return bool(known) or "://" in line or any(map(is_reference, fields))


def _odd_lines(location: str, lines: Sequence[str], encoding: str) -> Layout:
    """A .txt that is no table: one reference a line, or most lines none."""
    good = sum(map(is_reference, lines))
    if not any("://" in line or is_reference(line) for line in lines):
        raise NotAnInput(f"{location}: a .txt list has one URL (or path) a line, but its first lines hold none")
    if good < len(lines) / 2:
        raise ConfigError(f"{location}: its lines hold more than a URL; give input.delimiter")
    return Layout("txt", Names(), encoding=encoding)


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


def _records(header: Sequence[str], table: Sequence[Sequence[str]]) -> list[Record]:
    return [record_of(header, row) for row in table]


def _fields(layout: Layout, piece: bytes) -> list[str]:
    try:
        return layout.fields(piece)
    except ValueError:
        return [decode(piece)]


def _usual_delimiter(lines: Sequence[str]) -> str:
    """A comma if there is one in the first line, else the mark that is there most often."""
    first = lines[0] if lines else ""
    counts = {mark: first.count(mark) for mark in (",", ";", "\t", "|")}
    return "," if counts[","] else max(counts, key=lambda mark: counts[mark])


def _is_header(first: list[str], names: Names) -> bool:
    """A header names columns: it holds a usual or a given name, or at least neither a URL nor an image's path."""
    if names.url in first or columns.usual(first, columns.URL_NAMES + columns.PATH_NAMES):
        return True
    return not any("://" in name or is_reference(name) or is_embedded(name) for name in first)

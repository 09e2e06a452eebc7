"""Cutting text files into records, so that a record can be found again by its byte offset.

A splitter turns a stream into pieces whose concatenation is the stream; a piece holds one record, or none (white
space, a bracket). The formats build on that: offsets are sums of lengths, and a slice splits like the whole file.
"""

import csv
import io
import json
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from capfilt.pipelines.readers.files.failures import Broken
from capfilt.pipelines.readers.text.texts import decode

MAX_LINE: Final = 4_000_000
"""Bytes; a longer line is cut, so that a file without line ends does not fill the memory."""

MAX_JSON_LINE: Final = 100_000_000
"""The same for a line of JSON, which may hold an image as base64."""

MAX_ARRAY: Final = 1_000_000_000
"""Bytes; a JSON array is read as a whole."""

_PIECE: Final = 1 << 20

_MAX_QUOTED_LINES: Final = 100
"""A quote that is still open after so many lines was never meant to be one."""

csv.field_size_limit(MAX_LINE)  # Python's own limit of 131,072 characters is less than an image in base64

Splitter = Callable[[io.BufferedIOBase], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the fields of a table in text are told apart."""

    delimiter: str = ","
    quote: str = '"'  # empty: quotes mean nothing
    escape: str = ""  # put before a quote inside quotes; empty: quotes are doubled
    spaced: bool = False  # whether blanks may stand between a delimiter and a quote

    @property
    def options(self) -> dict[str, Any]:
        """For `csv.reader`."""
        quoting: dict[str, Any] = {"quotechar": self.quote} if self.quote else {"quoting": csv.QUOTE_NONE}
        common: dict[str, Any] = {"escapechar": self.escape or None, "skipinitialspace": self.spaced}
        return {"delimiter": self.delimiter, **common, **quoting}


def lines(stream: io.BufferedIOBase) -> Iterator[bytes]:
    """One line a piece."""
    return iter(lambda: stream.readline(MAX_LINE), b"")


def json_lines(stream: io.BufferedIOBase) -> Iterator[bytes]:
    """One line a piece, which may be long."""
    return iter(lambda: stream.readline(MAX_JSON_LINE), b"")


def csv_lines(dialect: Dialect) -> Splitter:
    """One CSV record a piece: a quoted field may span lines; a quote that never closes spoils only its own line."""
    if not dialect.quote:
        return lines
    mark, quote = re.escape(dialect.delimiter.encode()), re.escape(dialect.quote.encode())
    # Possessive (`++`, `*+`): a line of many quotes is tried in one way, not in exponentially many.
    inner = (
        rb"(?:[^\\" + quote + rb"]++|\\.|" + quote * 2 + rb")"
        if dialect.escape
        else rb"(?:[^" + quote + rb"]++|" + quote * 2 + rb")"
    )
    blanks = rb" *+" if dialect.spaced else b""
    field = rb"(?:" + blanks + quote + inner + rb"*+" + quote + rb"|[^" + quote + mark + rb"]*+)"
    closed = re.compile(field + rb"(?:" + mark + field + rb")*+", re.DOTALL).fullmatch

    def split(stream: io.BufferedIOBase) -> Iterator[bytes]:
        ahead: deque[bytes] = deque()
        source = lines(stream)
        while line := ahead.popleft() if ahead else next(source, b""):
            # Nearly every line is a whole record, and the expression sees that without parsing it.
            extra = 0 if closed(line.rstrip(b"\r\n")) else _quoted_lines(line, ahead, source, dialect)
            yield line + b"".join([ahead.popleft() for _ in range(extra)]) if extra else line

    return split


def _quoted_lines(line: bytes, ahead: deque[bytes], source: Iterator[bytes], dialect: Dialect) -> int:
    """How many of the lines after `line` belong to its record; lines looked at are left in `ahead`."""
    record, extra = line, 0
    state = _quoting(record, dialect)
    if state != "open":
        return 0
    while state == "open" and extra < _MAX_QUOTED_LINES:
        if extra == len(ahead):
            ahead.extend(islice(source, 1))
        if extra == len(ahead):
            return 0
        record += ahead[extra]
        if dialect.quote.encode() in ahead[extra]:
            state = _quoting(record, dialect)
        extra += 1
    return extra if state == "closed" else 0


def _quoting(record: bytes, dialect: Dialect) -> Literal["open", "closed", "wrong"]:
    """Whether the quoted fields of `record` are all closed."""
    try:
        for _ in csv.reader((record.decode("latin-1"),), strict=True, **dialect.options):  # any byte decodes, fast
            pass
    except csv.Error as error:
        # Only the words of the error tell a quote that is still open from one that is misplaced.
        return "open" if "unexpected end of data" in str(error) else "wrong"
    return "closed"


def array_elements(stream: io.BufferedIOBase) -> Iterator[bytes]:
    """One element of a JSON array a piece, with what stands before it; works from the middle of the array, too.

    Raises:
        Broken: what stands here is not JSON.
    """
    data = bytearray()
    while piece := stream.read(_PIECE):
        data += piece
        if len(data) > MAX_ARRAY:
            raise Broken(f"a JSON array of more than {MAX_ARRAY} bytes; use .jsonl, one object a line")
    text = data.decode("utf-8", "surrogateescape")  # gives the bytes back exactly, broken or not
    decoder = json.JSONDecoder()
    end = 0
    while True:
        begin = end
        while begin < len(text) and text[begin] in " \t\r\n[,\ufeff":
            begin += 1
        if begin == len(text) or text[begin] == "]":
            yield text[end:].encode("utf-8", "surrogateescape")
            return
        try:
            _, stop = decoder.raw_decode(text, begin)
        except (ValueError, RecursionError) as error:
            raise Broken(f"not JSON: {error}"[:200]) from error
        yield text[end:stop].encode("utf-8", "surrogateescape")
        end = stop


def csv_fields(piece: bytes, dialect: Dialect, strict: bool = False) -> list[str]:
    """The fields of one CSV record.

    Raises:
        ValueError: it cannot be parsed.
    """
    strict = strict or (b'\\"' in piece and not dialect.escape)  # read loosely, what is behind the quote is garbage
    try:
        return next(csv.reader([decode(piece)], strict=strict, **dialect.options), [])
    except csv.Error as error:
        raise ValueError(f"{error}; see input.quote") from error


def tsv_fields(piece: bytes, dialect: Dialect) -> list[str]:
    """The fields of one TSV line. Most TSV files do not quote, so a quote counts only where all is well quoted."""
    line = decode(piece).rstrip("\r\n")
    if dialect.quote and dialect.quote in line:
        try:
            return csv_fields(piece, dialect, strict=True)
        except ValueError:
            pass
    return line.split(dialect.delimiter)


def json_object(piece: bytes) -> dict[str, Any]:
    """The object of one JSON line or array element.

    Raises:
        ValueError: it is no JSON object.
    """
    try:
        value = json.loads(decode(piece).lstrip(" \t\r\n[,").rstrip(" \t\r\n,"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value

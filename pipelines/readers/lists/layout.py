"""How a text list is laid out, and its records by that: format, encoding, dialect, columns, header."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from capfilt.core.chunks import Json
from capfilt.pipelines.readers.files.failures import UNREADABLE
from capfilt.pipelines.readers.files.open import open_file
from capfilt.pipelines.readers.lists import records
from capfilt.pipelines.readers.lists.records import Dialect
from capfilt.pipelines.readers.rows.columns import Names, Record
from capfilt.pipelines.readers.rows.rows import Entry
from capfilt.pipelines.readers.text.texts import decode


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of one text list."""

    kind: str  # csv, tsv, jsonl, json (one array) or txt
    names: Names
    dialect: Dialect = field(default_factory=Dialect)
    header: tuple[str, ...] = ()  # column names of csv and tsv, made up where the file has none
    begin: int = 0  # byte offset of the first record, after the header
    encoding: str = ""  # empty: all of it is UTF-8
    spanning: bool = True  # whether a record of csv and tsv may span lines
    form: tuple[str, ...] = ()  # columns that are encoded like a web form's: a+b%21
    keys: tuple[str, ...] = ()  # of the first records of JSON; not kept in a plan

    def split(self, stream: io.BufferedIOBase) -> Iterator[bytes]:
        """Pieces of `stream`, see `records`."""
        if self.kind in ("csv", "tsv"):
            return (records.csv_lines(self.dialect) if self.spanning else records.lines)(stream)
        if self.kind == "jsonl":
            return records.json_lines(stream)
        return records.array_elements(stream) if self.kind == "json" else records.lines(stream)

    def is_blank(self, piece: bytes) -> bool:
        """Whether a piece holds no record. (A row of empty fields is a record.)"""
        filler = {"json": b" \t\r\n[],", "tsv": b" \r\n"}.get(self.kind, b" \t\r\n")
        return not piece.strip(filler + b"\xef\xbb\xbf")

    def entry(self, piece: bytes) -> Entry:
        """The columns of one piece, or why it cannot be parsed."""
        try:
            if self.encoding:
                self._check_letters(piece)
            return self._record(piece)
        except ValueError as error:
            return error

    def fields(self, piece: bytes) -> list[str]:
        """The fields of a csv or tsv piece; `ValueError` if it cannot be parsed."""
        return (records.tsv_fields if self.kind == "tsv" else records.csv_fields)(piece, self.dialect)

    def to_json(self) -> dict[str, Json]:
        """What reading a slice needs, for `Part.where`."""
        text: Json = self.names.text if isinstance(self.names.text, str) else list(self.names.text)
        usual: dict[str, Json] = {
            "kind": self.kind,
            "delimiter": self.dialect.delimiter,
            "header": list(self.header),
            "url": self.names.url,
            "text": text,
        }
        dialect = self.dialect
        others: dict[str, Json] = {"quote": dialect.quote, "escape": dialect.escape, "spaced": dialect.spaced}
        more: dict[str, Json] = {"encoding": self.encoding, "spanning": self.spanning, "form": list(self.form)}
        return usual | others | more

    @classmethod
    def from_json(cls, where: Mapping[str, Any]) -> "Layout":
        """The layout that `to_json` wrote, with `begin` left out; plans of older versions lack the later keys."""
        kind = where["kind"]
        dialect = Dialect(
            where["delimiter"], where.get("quote", '"'), where.get("escape", ""), where.get("spaced", False)
        )
        return cls(
            kind,
            Names.from_json(where),
            dialect,
            tuple(where["header"]),
            0,
            where.get("encoding", ""),
            where.get("spanning", kind != "tsv"),
            tuple(where.get("form", ())),
        )

    def _record(self, piece: bytes) -> Record:
        if self.kind in ("jsonl", "json"):
            return records.json_object(piece)
        if self.kind == "txt":
            line = decode(piece).strip()
            return {"url" if "://" in line else "path": line}
        fields = self.fields(piece)
        while len(fields) > len(self.header) and not fields[-1].strip():  # of commas at the end of lines
            fields.pop()
        if len(fields) != len(self.header):
            raise ValueError(f"{len(fields)} columns, expected {len(self.header)}: {decode(piece).strip()[:100]}")
        record = record_of(self.header, fields)
        return {**record, **{name: unquote_plus(record[name]) for name in self.form}}

    def _check_letters(self, piece: bytes) -> None:
        if self.encoding == "utf-8":
            piece.decode()  # raises a ValueError that says where
        # `open_file` puts U+FFFD where bytes do not fit the encoding.
        elif "\ufffd".encode() in piece:
            raise ValueError(f"not {self.encoding}; see input.encoding")


def entries(location: str, layout: Layout) -> Iterator[Entry]:
    """Every record of a list, up to where the file breaks off, if it does."""
    with open_file(location, layout.encoding or "utf-8") as stream:
        stream.seek(layout.begin)
        try:
            for piece in layout.split(stream):
                if not layout.is_blank(piece):
                    yield layout.entry(piece)
        except UNREADABLE:
            return


def record_of(header: Sequence[str], fields: Sequence[str]) -> Record:
    """Values by name; a list where several columns of one name have different ones."""
    record: Record = dict(zip(header, fields, strict=False))
    if len(record) == len(header):
        return record
    several: dict[str, dict[str, None]] = {}
    for name, value in zip(header, fields, strict=False):
        several.setdefault(name, {})[value] = None
    return {name: next(iter(values)) if len(values) == 1 else list(values) for name, values in several.items()}

"""URL and path lists as text: .csv .tsv .jsonl .json .txt, each also packed as .gz."""

import io
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, cast

import pyarrow as pa

from capfilt.core import config
from capfilt.core.chunks import Part
from capfilt.core.errors import InputError
from capfilt.pipelines.readers.base import InputFile, batches, broken_part, make_part, raw_table
from capfilt.pipelines.readers.columns import find
from capfilt.pipelines.readers.files import Neighbours, open_file, reason_of
from capfilt.pipelines.readers.layout import UNREADABLE, Layout, entries, layout_of
from capfilt.pipelines.readers.rows import rows_of

_SAMPLE: Final = 100
_GROUP: Final = 1000  # records looked at together, or fewer of so many bytes
_GROUP_BYTES: Final = 16_000_000

Span = tuple[int, int]
"""Byte offsets of a record in the unpacked file: begin, end."""


class ListReader:
    """One record a row; a part is a slice of the file."""

    name = "lists"

    def parts(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        layout = layout_of(file.location, settings)
        start = 0
        damage: list[str] = []
        for spans, size in batches(_spans(file.location, layout, damage), settings):
            begin, end = spans[0][0], spans[-1][1]
            where = layout.to_json() | {"offset": begin, "length": end - begin, "bytes": size}
            yield make_part(file, start, len(spans), **where)
            start += len(spans)
        if damage and not start:
            raise InputError(f"{file.location}: {damage[0]}")
        if damage:
            yield broken_part(file, start, damage[0])

    def read(self, part: Part) -> pa.Table:
        where = cast(Mapping[str, Any], part.where)
        layout = Layout.from_json(where)
        with open_file(part.file) as stream:
            stream.seek(where["offset"])
            pieces = layout.split(io.BytesIO(stream.read(where["length"])))
            found = [layout.entry(piece) for piece in pieces if not layout.is_blank(piece)]
        return raw_table(rows_of(found[: part.rows], part, layout.names))

    def references(self, file: InputFile, settings: config.InputSettings) -> Iterator[str]:
        """Every path that the list names, as written."""
        layout = layout_of(file.location, settings)
        for entry in entries(file.location, layout):
            if not isinstance(entry, ValueError) and (path := find(entry, layout.names).path):
                yield path


def _spans(location: str, layout: Layout, damage: list[str]) -> Iterator[tuple[Span, int]]:
    """(span, bytes of record and picture) of every record; what ends the file early goes to `damage`."""
    neighbours = _neighbours(location, layout)
    with open_file(location) as stream:
        stream.seek(layout.begin)
        pieces = layout.split(stream)
        end = layout.begin
        while group := _take(pieces, damage):
            spans: list[Span] = []
            for piece in group:
                spans.append((end, end := end + len(piece)))
            kept = [(span, piece) for span, piece in zip(spans, group, strict=True) if not layout.is_blank(piece)]
            sizes = _sizes(neighbours, layout, [piece for _, piece in kept])
            yield from ((span, size + len(piece)) for (span, piece), size in zip(kept, sizes, strict=True))


def _take(pieces: Iterator[bytes], damage: list[str]) -> list[bytes]:
    group: list[bytes] = []
    size = 0
    try:
        for piece in islice(pieces, _GROUP):
            group.append(piece)
            size += len(piece)
            if size > _GROUP_BYTES:
                break
    except UNREADABLE as error:
        damage.append(reason_of(error))
    return group


def _neighbours(location: str, layout: Layout) -> Neighbours | None:
    """The pictures beside a list, if it names any; a list of URLs costs no look at the file system."""
    sample = islice(entries(location, layout), _SAMPLE)
    names_paths = any(not isinstance(entry, ValueError) and find(entry, layout.names).path for entry in sample)
    return Neighbours.beside(location) if names_paths else None


def _sizes(neighbours: Neighbours | None, layout: Layout, pieces: list[bytes]) -> list[int]:
    if neighbours is None:
        return [0] * len(pieces)
    found = [layout.entry(piece) for piece in pieces]
    return neighbours.sizes([None if isinstance(e, ValueError) else find(e, layout.names).path for e in found])

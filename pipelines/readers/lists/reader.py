"""URL and path lists as text: .csv .tsv .jsonl .json .txt, packed or not."""

import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from capfilt.core import config
from capfilt.core.chunks import Json, Part
from capfilt.core.errors import InputError
from capfilt.pipelines.readers.files.failures import UNREADABLE, reason_of
from capfilt.pipelines.readers.files.open import open_file
from capfilt.pipelines.readers.files.pictures import Neighbours
from capfilt.pipelines.readers.lists.choices import list_choices
from capfilt.pipelines.readers.lists.detect import EXTENSIONS, layout_of
from capfilt.pipelines.readers.lists.layout import Layout, entries
from capfilt.pipelines.readers.rows.choices import Choice, image_place
from capfilt.pipelines.readers.rows.columns import RowFacts, text_columns
from capfilt.pipelines.readers.rows.reader import InputFile, Reader, batches, broken_part, make_part, raw_table
from capfilt.pipelines.readers.rows.repeats import first_rows, reference_of
from capfilt.pipelines.readers.rows.rows import Entry, found_in, merged, paths_in, rows_of, rows_of_found

_SAMPLE: Final = 100
_GROUP: Final = 1000  # records looked at together, or fewer of so many bytes
_GROUP_BYTES: Final = 16_000_000

Span = tuple[int, int]
"""Byte offsets of a record in the unpacked file: begin, end."""


class ListReader(Reader):
    """One record a row, or all records of one image; a part is a slice of the file, or a list of spans."""

    name = "lists"
    about = "tables and JSON with a URL, a path or the image itself (base64) and texts, one a line"
    suffixes = EXTENSIONS
    limited = True

    def parts(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        layout = layout_of(file.location, settings)
        firsts = _repeats(file.location, layout) if settings.merge != "never" else None
        damage: list[str] = []
        start = 0
        spans = _spans(file, layout, damage)
        for part in (
            _slices(file, layout, spans, settings) if firsts is None else _merged(file, layout, spans, firsts, settings)
        ):
            yield part
            start += part.rows
        if damage and not start:
            raise InputError(f"{file.location}: {damage[0]}")
        if damage:
            yield broken_part(file, start, damage[0])

    def read(self, part: Part) -> pa.Table:
        where = cast(Mapping[str, Any], part.where)
        layout = Layout.from_json(where)
        with open_file(part.file, layout.encoding or "utf-8") as stream:
            if "spans" in where:
                groups = _entries_at(stream, layout, where["spans"][: part.rows])
                found = [merged([found_in(entry, layout.names) for entry in group]) for group in groups]
                return raw_table(rows_of_found(found, part))
            stream.seek(where["offset"])
            pieces = layout.split(io.BytesIO(stream.read(where["length"])))
            listed = [layout.entry(piece) for piece in pieces if not layout.is_blank(piece)]
        return raw_table(rows_of(listed[: part.rows], part, layout.names))

    def check(self, file: InputFile, settings: config.InputSettings) -> None:
        layout_of(file.location, settings)

    def choices(self, file: InputFile, settings: config.InputSettings) -> list[Choice]:
        found = list_choices(layout_of(file.location, settings), file.location, settings)
        return found + image_place(file.origin_of_pictures)

    def references(self, file: InputFile, settings: config.InputSettings, rows: int | None = None) -> Iterator[str]:
        layout = layout_of(file.location, settings)
        for entry in islice(entries(file.location, layout), rows):
            yield from paths_in(found_in(entry, layout.names))

    def gives_texts(self, file: InputFile, settings: config.InputSettings) -> bool:
        layout = layout_of(file.location, settings)
        return layout.kind in ("json", "jsonl") or bool(text_columns(layout.header, layout.names.text))


def _slices(
    file: InputFile, layout: Layout, spans: Iterator[tuple[Span, int]], settings: config.InputSettings
) -> Iterator[Part]:
    start = 0
    for group, size in batches(spans, settings):
        begin, end = group[0][0], group[-1][1]
        yield make_part(file, start, len(group), **layout.to_json(), offset=begin, length=end - begin, bytes=size)
        start += len(group)


def _merged(
    file: InputFile,
    layout: Layout,
    spans: Iterator[tuple[Span, int]],
    firsts: NDArray[np.int64],
    settings: config.InputSettings,
) -> Iterator[Part]:
    """Parts whose rows are all records of one image each, in the order of their first ones."""
    found = list(spans)
    order = np.argsort(firsts[: len(found)], kind="stable").tolist()
    grouped = [list(group) for _, group in groupby(order, key=lambda row: int(firsts[row]))]
    rows = (([found[one][0] for one in group], sum(found[one][1] for one in group)) for group in grouped)
    start = 0
    for group, size in batches(rows, settings):
        listed: Json = [[list(span) for span in row] for row in group]
        yield make_part(file, start, len(group), **layout.to_json(), spans=listed, bytes=size)
        start += len(group)


def _repeats(location: str, layout: Layout) -> NDArray[np.int64] | None:
    return first_rows(reference_of(entry, layout.names) for entry in entries(location, layout))


def _entries_at(stream: io.BufferedReader, layout: Layout, rows: Sequence[Sequence[Span]]) -> list[list[Entry]]:
    """The records of each row; they are read in the order of the file, for a packed one cannot go back."""
    found: dict[int, Entry] = {}
    for begin, end in sorted((begin, end) for row in rows for begin, end in row):
        stream.seek(begin)
        found[begin] = layout.entry(stream.read(end - begin))
    return [[found[begin] for begin, _ in row] for row in rows]


def _spans(file: InputFile, layout: Layout, damage: list[str]) -> Iterator[tuple[Span, int]]:
    """(span, bytes of record and image) of every record; what ends the file early goes to `damage`."""
    neighbours = _neighbours(file, layout)
    with open_file(file.location, layout.encoding or "utf-8") as stream:
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


def _neighbours(file: InputFile, layout: Layout) -> Neighbours | None:
    """The images beside a list, if it names any; a list of URLs costs no look at the file system."""
    sample = islice(entries(file.location, layout), _SAMPLE)
    if any(_path(entry, layout) for entry in sample):
        return Neighbours.beside(file.location, file.origin_of_pictures)
    return None


def _sizes(neighbours: Neighbours | None, layout: Layout, pieces: list[bytes]) -> list[int]:
    if neighbours is None:
        return [0] * len(pieces)
    return neighbours.sizes([_path(layout.entry(piece), layout) for piece in pieces])


def _path(entry: Entry, layout: Layout) -> str | None:
    fact = found_in(entry, layout.names)
    return fact.path if isinstance(fact, RowFacts) else None

"""Columnar files: lists of URLs or paths, and image bytes (a binary column, or a Hugging Face struct)."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Final, cast

import numpy as np
import pyarrow as pa

from capfilt.core import config
from capfilt.core.chunks import Json, Part
from capfilt.core.errors import ConfigError, InputError
from capfilt.core.schema import Reason
from capfilt.pipelines.readers.columnar.image_column import image_column
from capfilt.pipelines.readers.columnar.records_at import RecordsAt
from capfilt.pipelines.readers.columnar.table import DAMAGE, Table
from capfilt.pipelines.readers.columnar.values import image_bytes, records_in
from capfilt.pipelines.readers.files.failures import NotAnInput, reason_of
from capfilt.pipelines.readers.files.open import read_head
from capfilt.pipelines.readers.files.packing import PACKINGS
from capfilt.pipelines.readers.files.pictures import Neighbours
from capfilt.pipelines.readers.rows import columns
from capfilt.pipelines.readers.rows.choices import Choice, column_choices, image_place
from capfilt.pipelines.readers.rows.columns import Names, Record, RowFacts
from capfilt.pipelines.readers.rows.reader import InputFile, Reader, Row, batches, make_part, raw_table
from capfilt.pipelines.readers.rows.references import Several
from capfilt.pipelines.readers.rows.repeats import NONE, digest_of, first_rows, reference_of
from capfilt.pipelines.readers.rows.rows import found_in, merged, rows_of_found

_ROWS: Final = 8192  # decoded at once
_IMAGES: Final = 256  # rows with images decoded at once, at most
_LOOKED_AT: Final = 16  # rows
_HEAD: Final = 16  # bytes
_AT_ONCE: Final = 64_000_000
"""Bytes of images decoded at once, about."""
_ROOM: Final = 4
"""The values of a part may take so many times the bytes that were planned: they were counted as they are stored."""


@dataclass(frozen=True, slots=True)
class TableShape:
    """Which columns of a file matter."""

    names: Names
    image: str | None  # column with image bytes
    columns: tuple[str, ...]  # to read: image, references, texts, and what boxes need

    @classmethod
    def of(cls, table: Table, settings: config.InputSettings, location: str) -> "TableShape":
        """Look at a file.

        Raises:
            ConfigError: no usable column.
        """
        names, available = Names.of(settings), tuple(table.schema.names)
        if twice := sorted({name for name in available if available.count(name) > 1}):
            raise ConfigError(f"{location}: several columns are called {', '.join(twice)}; rename them"[:300])
        chosen = image_column(table, settings)
        image = chosen.value if chosen else None
        names = columns.check(available, names, location, _sample(table), image=image is not None)
        references = columns.usual(available, columns.URL_NAMES + columns.PATH_NAMES)
        texts = columns.text_columns(available, names.text)
        wanted = [
            image,
            *(references if names.url == "auto" else [names.url]),
            *texts,
            *columns.region_columns(available),
        ]
        kept = dict.fromkeys(name for name in wanted if name in available)
        return cls(names, image, tuple(str(name) for name in kept))

    def to_json(self) -> dict[str, Json]:
        """For `Part.where`."""
        text: Json = self.names.text if isinstance(self.names.text, str) else list(self.names.text)
        return {"url": self.names.url, "text": text, "image": self.image, "columns": list(self.columns)}

    @classmethod
    def from_json(cls, where: Mapping[str, Any]) -> "TableShape":
        """The shape that `to_json` wrote."""
        return cls(Names.from_json(where), where["image"], tuple(where["columns"]))


class ColumnarReader(Reader):
    """One row a row, or all rows of one image; a part is a range of rows, or a list of them."""

    limited = True

    @abstractmethod
    def open(self, location: str) -> Table:
        """The file, its schema read; raises `InputError`."""

    def parts(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        table = self.open(file.location)
        shape = TableShape.of(table, settings, file.location)
        try:
            weights = list(_weights(table, shape, file))
            groups = _repeats(table, shape, settings)
        except UnicodeDecodeError as error:
            raise InputError(f"{file.location}: {reason_of(error)}") from error
        start = 0
        if groups is None:
            for size_of, size in batches(((None, weight) for weight in weights), settings):
                yield make_part(file, start, len(size_of), **shape.to_json(), bytes=size)
                start += len(size_of)
            return
        sizes = (sum(weights[row] for row in group) if shape.image else weights[group[0]] for group in groups)
        for rows, size in batches(zip(groups, sizes, strict=True), settings):
            yield make_part(file, start, len(rows), **shape.to_json(), records=cast(Json, rows), bytes=size)
            start += len(rows)

    def read(self, part: Part) -> pa.Table:
        shape = TableShape.from_json(cast(Mapping[str, Any], part.where))
        wanted = cast(list[list[int]], part.where.get("records")) or [[part.start + at] for at in range(part.rows)]
        wanted = wanted[: part.rows]
        planned = cast(int, part.where.get("bytes", 0))
        table = self.open(part.file)
        size = min(_IMAGES, max(1, _AT_ONCE * part.rows // max(planned, 1))) if shape.image else _ROWS
        records = RecordsAt(table, part.file, shape.columns, size, _ROOM * max(planned, _AT_ONCE))
        records.read(sorted(one for row in wanted for one in row))
        found = [_found([records.found[one] for one in row if one in records.found], shape) for row in wanted]
        lost = [next((records.lost[one] for one in row if one in records.lost), None) for row in wanted]
        rows = rows_of_found([fact or ValueError("lost") for fact in found], part)
        return raw_table(
            Row(row.key, reason=Reason.BAD_CONTAINER, detail=why) if fact is None else row
            for row, fact, why in zip(rows, found, lost, strict=True)
            if fact is not None or why  # a file that shrank gives fewer rows, and whoever asked notices
        )

    def check(self, file: InputFile, settings: config.InputSettings) -> None:
        if self.marks and read_head(file.location, _HEAD).startswith(tuple(PACKINGS)):
            raise NotAnInput(f"{file.location}: a packed file of {self.name}; unpack it, the format compresses itself")
        TableShape.of(self.open(file.location), settings, file.location)

    def choices(self, file: InputFile, settings: config.InputSettings) -> list[Choice]:
        table = self.open(file.location)
        shape = TableShape.of(table, settings, file.location)
        found = column_choices(table.schema.names, shape.names, image_column(table, settings))
        return found + image_place(file.origin_of_pictures)

    def references(self, file: InputFile, settings: config.InputSettings, rows: int | None = None) -> Iterator[str]:
        """Every path that the file names, as written; none where it holds the bytes of its images."""
        table = self.open(file.location)
        shape = TableShape.of(table, settings, file.location)
        if shape.image is None or _holds_only_paths(table, shape.image):
            yield from (path for path in islice(_paths(table, shape), rows) if path)


def _found(records: list[Record], shape: TableShape) -> RowFacts | ValueError | None:
    """What the records of one image come to; None where they could not be read."""
    if not records:
        return None
    return merged([_fact(record, shape) for record in records])


def _fact(record: Record, shape: TableShape) -> RowFacts | ValueError:
    """The path in an image struct stands in for a column of paths."""
    value = record.get(shape.image) if shape.image else None
    if isinstance(value, list) and len(value) > 1:
        return Several(len(value))
    path = value.get("path") if isinstance(value, dict) else None
    rest = {name: field for name, field in record.items() if name != shape.image}
    return found_in({"file_name": path} | rest if path else rest, shape.names, image_bytes(value))


def _holds_only_paths(table: Table, image: str) -> bool:
    """Whether the images of the first rows are structs of a path without bytes: `datasets` writes those, too."""
    if not pa.types.is_struct(table.schema.field(image).type) or not table.groups:
        return False
    try:
        batch = next(iter(table.batches(0, [image], _LOOKED_AT)), None)
    except DAMAGE:
        return False
    values = [record[image] for record in records_in(batch)] if batch else []
    return any(values) and not any(value and value.get("bytes") for value in values)


def _sample(table: Table) -> list[Record]:
    """The first rows, but of the columns that may hold images."""
    names = [field.name for field in table.schema if not pa.types.is_nested(field.type)]
    try:
        batch = next(iter(table.batches(0, names, 100)), None) if table.groups and names else None
        return records_in(batch) if batch is not None else []
    except DAMAGE:
        return []


def _weights(table: Table, shape: TableShape, file: InputFile) -> Iterator[int]:
    """Bytes of the image of every row: the mean of its group, or the size of the file it names."""
    if shape.image is None and any(paths := list(_paths(table, shape))):
        paths += [None] * (table.rows - len(paths))
        yield from Neighbours.beside(file.location, file.origin_of_pictures).sizes(paths)
        return
    for group, rows in enumerate(table.groups):
        size = table.stored_bytes(group, shape.image) // max(rows, 1) if shape.image else 0
        for _ in range(rows):
            yield size


# Only where told to for URLs and bytes: to compare all URLs, planning a CSV of a million rows took 9.4 s of CPU instead
# of 1.2, and bytes are the whole file.
def _repeats(table: Table, shape: TableShape, settings: config.InputSettings) -> list[list[int]] | None:
    """The rows of each image, where some image has several."""
    always = settings.merge == "always"
    wanted = list(shape.columns) if always else columns.usual(shape.columns, columns.PATH_NAMES)
    if settings.merge == "never" or not wanted or (shape.image is not None and not always):
        return None
    size = _IMAGES if shape.image else _ROWS
    try:
        records = (record for group in range(len(table.groups)) for record in _group(table, group, shape.columns, size))
        firsts = first_rows(_reference(record, shape) for record in records)
    except DAMAGE:
        return None  # the rows are damaged when they are read, too, and say so then
    if firsts is None:
        return None
    order = np.argsort(firsts, kind="stable").tolist()
    return [list(rows) for _, rows in groupby(order, key=lambda row: int(firsts[row]))]


def _reference(record: Record, shape: TableShape) -> int:
    if shape.image is None:
        return reference_of(record, Names(shape.names.url, "none"))
    fact = _fact(record, shape)
    if isinstance(fact, RowFacts) and fact.image is not None:
        return digest_of(fact.image)
    return NONE


def _group(table: Table, group: int, wanted: Sequence[str], size: int) -> Iterator[Record]:
    for batch in table.batches(group, wanted, size):
        yield from records_in(batch)


def _paths(table: Table, shape: TableShape) -> Iterator[str | None]:
    """The path in every row up to the first damage; nothing at all when the columns can only hold URLs."""
    names = Names(shape.names.url, "none")
    wanted = columns.usual(shape.columns, columns.PATH_NAMES) if names.url == "auto" else [names.url]
    if not wanted or wanted[0].lower() in columns.URL_NAMES:
        return
    try:
        for group in range(len(table.groups)):
            for record in _group(table, group, wanted, _ROWS):
                fact = found_in(record, names)
                yield fact.path if isinstance(fact, RowFacts) else None
    except DAMAGE:
        return  # the rows are damaged when they are read, too, and say so then

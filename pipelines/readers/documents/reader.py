"""JSON documents that hold many rows, recognized by their shape."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, Final, cast

import pyarrow as pa

from capfilt.core import config
from capfilt.core.chunks import Json, Part
from capfilt.core.errors import InputError
from capfilt.core.storage import split_url
from capfilt.pipelines.readers.documents.datasets import Coco, Karpathy, VisualGenome
from capfilt.pipelines.readers.documents.layouts import (
    ColumnsOfRows,
    FileMap,
    ListOfLists,
    OneRow,
    ParallelLists,
    RowMap,
    RowsInside,
    SplitTable,
)
from capfilt.pipelines.readers.documents.shape import DocumentShape
from capfilt.pipelines.readers.files.failures import UNREADABLE, NotAnInput, NothingToRead, reason_of
from capfilt.pipelines.readers.files.open import open_file
from capfilt.pipelines.readers.files.pictures import Neighbours
from capfilt.pipelines.readers.lists.choices import encoding_choice
from capfilt.pipelines.readers.lists.detect import encoding_at
from capfilt.pipelines.readers.lists.records import MAX_ARRAY
from capfilt.pipelines.readers.rows import columns
from capfilt.pipelines.readers.rows.choices import Choice, column_choices, image_place
from capfilt.pipelines.readers.rows.columns import Names, RowFacts
from capfilt.pipelines.readers.rows.reader import (
    InputFile,
    Reader,
    Where,
    batches,
    forgotten_row,
    make_part,
    raw_table,
)
from capfilt.pipelines.readers.rows.rows import found_in, paths_in, rows_of_found
from capfilt.pipelines.readers.text.hygiene import MAX_URL, clean_texts
from capfilt.pipelines.readers.text.regions import packed, unpacked

SHAPES: Final[tuple[DocumentShape, ...]] = (
    Coco(), Karpathy(), RowsInside(), SplitTable(), ParallelLists(), ColumnsOfRows(), FileMap(), RowMap(),
    VisualGenome(), ListOfLists(), OneRow(),
)  # fmt: skip
"""Every shape, the most particular ones first."""

_HEAD: Final = 1 << 20
_SAMPLE: Final = 100


class DocumentReader(Reader):
    """One record of the document's shape a row.

    To read a row of a document all of it has to be parsed, so that is done once, and the plan holds what the rows
    say: URL, path and texts.
    """

    name = "documents"
    about = "one JSON document with many rows"
    suffixes = ("json",)
    limited = True

    def parts(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        facts = list(self._facts(file, settings))
        paths = [fact.path if isinstance(fact, RowFacts) else None for fact in facts]
        folder = Neighbours.beside(file.location, file.origin_of_pictures)
        sizes = folder.sizes(paths) if any(paths) else [0] * len(facts)
        start = 0
        for group, size in batches(zip(facts, sizes, strict=True), settings):
            records: Json = [_to_json(fact) for fact in group]
            yield make_part(file, start, len(group), records=records, bytes=size)
            start += len(group)

    def read(self, part: Part) -> pa.Table:
        rows = cast(list[Any], part.where["records"])[: part.rows]
        facts: list[RowFacts | ValueError] = [_from_json(row) for row in rows]
        read = rows_of_found(facts, part)
        return raw_table(
            forgotten_row(part, number) if row is None else one
            for number, (row, one) in enumerate(zip(rows, read, strict=True))
        )

    def keys(self, part: Part) -> Sequence[str | None]:
        rows = cast(list[Any], part.where["records"])
        return [None if row is None else key for row, key in zip(rows, super().keys(part), strict=False)]

    def check(self, file: InputFile, settings: config.InputSettings) -> None:
        next(self._facts(file, settings), None)

    def references(self, file: InputFile, settings: config.InputSettings, rows: int | None = None) -> Iterator[str]:
        for fact in islice(self._facts(file, settings), rows):
            yield from paths_in(fact)

    def redacted(self, part: Part, gone: Callable[[str], bool]) -> Where:
        rows = cast(list[Any], part.where["records"])
        return part.where | {"records": [None if gone(str(part.start + at)) else row for at, row in enumerate(rows)]}

    def choices(self, file: InputFile, settings: config.InputSettings) -> list[Choice]:
        shape, keys, names = self._shape(file, settings)
        found = [Choice("shape", shape.about, "it has the keys of that"), encoding_choice(file.location, settings)]
        return found + column_choices(keys, names) + image_place(file.origin_of_pictures)

    def _facts(self, file: InputFile, settings: config.InputSettings) -> Iterator[RowFacts | ValueError]:
        shape, _, names = self._shape(file, settings)
        return (found_in(record, names) for record in shape.records(_document(file.location, settings)))

    def _shape(self, file: InputFile, settings: config.InputSettings) -> tuple[DocumentShape, list[str], Names]:
        """The shape of the document, the keys of its first records, and which of them count."""
        document = _document(file.location, settings)
        shape = next((shape for shape in SHAPES if shape.fits(document)), None)
        if shape is None:
            raise NothingToRead(f"{file.location}: a JSON document of no shape that holds images and texts")
        try:
            sample = list(islice(shape.records(document), _SAMPLE))
        except NothingToRead as error:
            raise NothingToRead(f"{file.location}: {error}") from error
        keys = list(dict.fromkeys(key for record in sample for key in record))
        return shape, keys, columns.check(keys, Names.of(settings), file.location, sample)


def _to_json(fact: RowFacts | ValueError) -> Json:
    if isinstance(fact, ValueError):
        return {"error": str(fact)}
    if fact.image is not None:
        return {"error": "an image inside a JSON document; use one object a line (.jsonl)"}
    # One character more than is allowed: what is too long stays too long, and does not fill the plan.
    return [fact.url and fact.url[: MAX_URL + 1], fact.path, [packed(text) for text in clean_texts(fact.texts)]]


def _from_json(row: Any) -> RowFacts | ValueError:
    if row is None or isinstance(row, dict):
        return ValueError(row["error"] if row else "forgotten")
    url, path, texts = row
    return RowFacts(url, path, [unpacked(text) for text in texts])


def _document(location: str, settings: config.InputSettings) -> Any:
    """The one JSON value that a file is.

    Raises:
        NotAnInput: it is an array of objects or one object a line, or nothing but a scalar.
        InputError: it cannot be read.
    """
    filesystem, path = split_url(location)
    info = filesystem.get_file_info(path)
    return _parsed(location, encoding_at(location, settings), info.size or 0, info.mtime_ns or 0)


# One alone: all of a document is in memory.
@lru_cache(maxsize=1)
def _parsed(location: str, encoding: str, size: int, changed: int) -> Any:
    """The document in a file of this size and time of change; kept, for planning asks for it several times."""
    with open_file(location, encoding or "utf-8") as stream:
        try:
            head = stream.read(_HEAD)
            if _is_for_lists(head):
                raise NotAnInput(f"{location}: a list of objects")
            content = bytearray(head)
            # Piece by piece, for `read` takes the memory that it is asked for, whatever is there.
            while len(content) <= MAX_ARRAY and (piece := stream.read(_HEAD)):
                content += piece
        except UNREADABLE as error:
            raise InputError(f"{location}: {reason_of(error)}") from error
    if len(content) > MAX_ARRAY:
        raise InputError(f"{location}: a JSON document of more than {MAX_ARRAY} bytes; use .jsonl, one object a line")
    try:
        value = json.loads(content.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError) as error:
        raise NotAnInput(f"{location}: not JSON: {error}"[:300]) from error
    if not isinstance(value, (list, dict)):
        raise NotAnInput(f"{location}: a JSON document without rows")
    return value


def _is_for_lists(head: bytes) -> bool:
    """Whether a file is one object a line, or an array of objects that are rows themselves: no need to parse it all."""
    text = head.decode("utf-8-sig", "replace").lstrip()
    is_array = text.startswith("[")
    begin = len(text) - len(text[1:].lstrip()) if is_array else 0
    try:
        first, end = json.JSONDecoder().raw_decode(text, begin)
    except (ValueError, RecursionError):
        return False
    return not any(shape.fits([first]) for shape in SHAPES) if is_array else bool(text[end:].strip())

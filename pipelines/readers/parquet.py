"""Parquet: lists of URLs or paths, and image bytes (binary column, img2dataset's output, Hugging Face struct)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core import config
from capfilt.core.chunks import Json, Part
from capfilt.core.errors import InputError
from capfilt.core.schema import Reason
from capfilt.core.storage import split_url
from capfilt.pipelines.readers import columns
from capfilt.pipelines.readers.base import InputFile, Row, batches, make_part, raw_table
from capfilt.pipelines.readers.columns import Names, Record
from capfilt.pipelines.readers.files import Neighbours, is_local, reason_of
from capfilt.pipelines.readers.rows import rows_of
from capfilt.pipelines.readers.text import decode

IMAGE_NAMES: Final = (
    "image", "images", "bytes", "image_bytes", "img", "img_bytes", "image_data", "jpg", "jpeg", "png", "webp", "gif",
    "bmp", "tif", "tiff", "avif", "picture", "photo", "binary", "data", "content",
)  # fmt: skip
"""Columns that hold image bytes, likeliest first, in lower case; img2dataset names its column after the encoding."""

_DAMAGE: Final = (pa.ArrowException, ValueError, OSError)
"""What pyarrow raises over a damaged file; names that are not UTF-8 are a ValueError."""

_FREE_ROWS: Final = 10_000_000  # that any file may declare: a column of one value takes no room
_ROWS: Final = 8192  # decoded at once
_IMAGES: Final = 256


@dataclass(frozen=True, slots=True)
class Shape:
    """Which columns of a Parquet file matter."""

    names: Names
    image: str | None  # column with image bytes
    columns: tuple[str, ...]  # to read: image, references, texts

    @classmethod
    def of(cls, schema: pa.Schema, settings: config.InputSettings, location: str) -> "Shape":
        """Look at a schema.

        Raises:
            ConfigError: no usable column.
        """
        names = Names.of(settings)
        image = _image_column(schema, settings)
        columns.check(schema.names, names, location, image=image is not None)
        references = columns.usual(schema.names, columns.URL_NAMES + columns.PATH_NAMES)
        texts = columns.usual(schema.names, columns.TEXT_NAMES)[:1] if names.text == "auto" else [names.text]
        wanted = [image, *(references if names.url == "auto" else [names.url]), *texts]
        kept = dict.fromkeys(name for name in wanted if name in schema.names)
        return cls(names, image, tuple(str(name) for name in kept))

    def to_json(self) -> dict[str, Json]:
        """For `Part.where`."""
        return {"url": self.names.url, "text": self.names.text, "image": self.image, "columns": list(self.columns)}

    @classmethod
    def from_json(cls, where: Mapping[str, Any]) -> "Shape":
        """The shape that `to_json` wrote."""
        return cls(Names(where["url"], where["text"]), where["image"], tuple(where["columns"]))


class ParquetReader:
    """One row a row; row groups are found again from the footer."""

    name = "parquet"

    def parts(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        parquet = open_parquet(file.location)
        shape = Shape.of(parquet.schema_arrow, settings, file.location)
        _check_rows(parquet, file.location)
        try:
            weights = list(_weights(parquet, shape, file.location))
        except UnicodeDecodeError as error:
            raise InputError(f"{file.location}: {reason_of(error)}") from error
        start = 0
        for rows, size in batches(weights, settings):
            yield make_part(file, start, len(rows), **shape.to_json(), bytes=size)
            start += len(rows)

    def read(self, part: Part) -> pa.Table:
        shape = Shape.from_json(cast(Mapping[str, Any], part.where))
        filesystem, _ = split_url(part.file)
        records: list[Record] = []
        damage = None
        try:
            for batch in _batches(open_parquet(part.file), shape, part.start, part.rows):
                records.extend(_records(batch))
        except _DAMAGE as error:
            # Arrow reports a damaged page as an OSError without a number; elsewhere another try may help.
            if isinstance(error, OSError) and (error.errno or not is_local(filesystem)):
                raise
            damage = reason_of(error)
        rows = rows_of(_without_images(records, shape), part, shape.names, _images(records, shape))
        lost = range(part.start + len(rows), part.start + part.rows) if damage else range(0)
        return raw_table(rows + [Row(str(key), reason=Reason.BAD_CONTAINER, detail=damage) for key in lost])

    def references(self, file: InputFile, settings: config.InputSettings) -> Iterator[str]:
        """Every path that the file names, as written; none where it holds image bytes."""
        parquet = open_parquet(file.location)
        shape = Shape.of(parquet.schema_arrow, settings, file.location)
        if shape.image is None:
            yield from (path for path in _paths(parquet, shape) if path)


def open_parquet(location: str) -> pq.ParquetFile:
    """The file's footer, read.

    Raises:
        InputError: it is not there or no Parquet file.
    """
    filesystem, path = split_url(location)
    try:
        return pq.ParquetFile(filesystem.open_input_file(path))
    except _DAMAGE as error:
        raise InputError(f"{location}: {reason_of(error)}") from error


def _check_rows(parquet: pq.ParquetFile, location: str) -> None:
    """Refuse a footer that declares rows without bytes: planning goes through them one by one.

    Raises:
        InputError: rows are missing, or too many for the file's size.
    """
    groups = [parquet.metadata.row_group(group).num_rows for group in range(parquet.num_row_groups)]
    rows, size = parquet.metadata.num_rows, parquet.metadata.serialized_size + _FREE_ROWS
    size += sum(max(0, parquet.metadata.row_group(group).total_byte_size) for group in range(len(groups)))
    if min(groups, default=0) < 0 or sum(groups) != rows or rows > size:
        raise InputError(f"{location}: its footer declares {rows} rows, which it cannot hold")


def _image_column(schema: pa.Schema, settings: config.InputSettings) -> str | None:
    """The column with image bytes: one that is named like it, or else the only one that can hold bytes."""
    taken = {settings.url, settings.text}
    able = [field.name for field in schema if _holds_bytes(field.type) and field.name not in taken]
    named = columns.usual(able, IMAGE_NAMES)
    if named:
        return named[0]
    # Old writers store strings as binary: a column that is named like a text or a URL is one.
    other = set(columns.usual(able, columns.URL_NAMES + columns.PATH_NAMES + columns.TEXT_NAMES))
    rest = [name for name in able if name not in other]
    return rest[0] if len(rest) == 1 else None


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_bytes(kind.value_type)
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _holds_bytes(kind.field(index).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _weights(parquet: pq.ParquetFile, shape: Shape, location: str) -> Iterator[tuple[None, int]]:
    """Bytes of the picture of every row: the mean of its row group, or the size of the file it names."""
    if shape.image is None and any(paths := list(_paths(parquet, shape))):
        paths += [None] * (parquet.metadata.num_rows - len(paths))
        yield from ((None, size) for size in Neighbours.beside(location).sizes(paths))
        return
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        size = _image_bytes(parquet.metadata.row_group(group), shape.image) // max(rows, 1)
        for _ in range(rows):
            yield None, size


def _image_bytes(group: pq.RowGroupMetaData, image: str | None) -> int:
    """Compressed bytes of the image column in a row group."""
    if image is None:
        return 0
    leaves = [group.column(index) for index in range(group.num_columns)]
    return int(sum(leaf.total_compressed_size for leaf in leaves if leaf.path_in_schema.split(".")[0] == image))


def _paths(parquet: pq.ParquetFile, shape: Shape) -> Iterator[str | None]:
    """The path in every row up to the first damage; nothing at all when the columns can only hold URLs."""
    names = Names(shape.names.url, "none")
    wanted = columns.usual(shape.columns, columns.PATH_NAMES) if names.url == "auto" else [names.url]
    if not wanted or wanted[0].lower() in columns.URL_NAMES:
        return
    try:
        for batch in parquet.iter_batches(_ROWS, columns=wanted):
            yield from (columns.find(record, names).path for record in _records(batch))
    except _DAMAGE:
        return  # the rows are damaged when they are read, too, and say so then


def _batches(parquet: pq.ParquetFile, shape: Shape, start: int, rows: int) -> Iterator[pa.RecordBatch]:
    """Rows [start, start + rows), from the row groups that hold them."""
    begin, at_once = 0, _IMAGES if shape.image else _ROWS
    for group in range(parquet.num_row_groups):
        end = begin + parquet.metadata.row_group(group).num_rows
        if begin < start + rows and start < end:
            for batch in parquet.iter_batches(at_once, row_groups=[group], columns=list(shape.columns)):
                skip = max(start - begin, 0)
                part = batch.slice(skip, max(start + rows - begin - skip, 0))
                begin += batch.num_rows
                if part.num_rows:
                    yield part
                if begin >= start + rows:
                    return
        begin = end


def _records(batch: pa.RecordBatch) -> list[Record]:
    values = {name: _values(batch.column(name)) for name in batch.schema.names}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _values(column: pa.Array) -> list[Any]:
    """Python values; Parquet does not check that strings are UTF-8, so they may have to be repaired."""
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        return [_repaired(value) for value in column.cast(_as_binary(column.type)).to_pylist()]


def _as_binary(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.binary()) if pa.types.is_list(kind) else pa.large_binary()


def _repaired(value: Any) -> Any:
    if isinstance(value, list):
        return [_repaired(element) for element in value]
    return decode(value) if isinstance(value, bytes) else value


def _images(records: list[Record], shape: Shape) -> list[bytes | None]:
    return [_bytes(record.get(shape.image)) if shape.image else None for record in records]


def _bytes(value: Any) -> bytes | None:
    """The bytes in a plain value, a Hugging Face struct, or a list that holds one of these."""
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None


def _without_images(records: list[Record], shape: Shape) -> list[Record | ValueError]:
    return [_described(record, shape) for record in records]


def _described(record: Record, shape: Shape) -> Record | ValueError:
    """The record without its bytes; the path in an image struct stands in for a column of paths."""
    value = record.get(shape.image) if shape.image else None
    if isinstance(value, list) and len(value) > 1:
        return ValueError(f"{len(value)} images in one row, expected one")
    path = value.get("path") if isinstance(value, dict) else None
    rest = {name: field for name, field in record.items() if name != shape.image}
    return {"file_name": path} | rest if path else rest

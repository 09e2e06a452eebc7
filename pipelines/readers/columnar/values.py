"""From Arrow columns to Python values, strings that are not UTF-8 as bytes, and the image bytes in a value."""

from typing import Any

import pyarrow as pa

from capfilt.pipelines.readers.rows.columns import Record


def records_in(batch: pa.RecordBatch) -> list[Record]:
    """One mapping a row."""
    values = {name: _values(batch.column(name)) for name in batch.schema.names}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def is_bytes_as_numbers(kind: pa.DataType) -> bool:
    """Whether a column of this type holds bytes as lists of numbers, as NumPy's arrays are written."""
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return is_list and bool(pa.types.is_uint8(kind.value_type))


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold images: bytes, a struct with `bytes`, or lists of these."""
    if is_bytes_as_numbers(kind):
        return True
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return holds_bytes(kind.value_type)
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and holds_bytes(kind.field(index).type)
    checks = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view)
    return any(check(kind) for check in checks)


def image_bytes(value: Any) -> bytes | None:
    """The bytes in a plain value, a Hugging Face struct, or a list that holds one of these."""
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if isinstance(value, dict):
        value = value.get("bytes")
    return value if isinstance(value, bytes) else None


def _values(column: pa.Array) -> list[Any]:
    """Python values; Parquet does not check that strings are UTF-8, and those that are not stay bytes."""
    try:
        if is_bytes_as_numbers(column.type):
            return [None if value is None else bytes(value) for value in column.to_pylist()]
        return list(column.to_pylist(maps_as_pydicts="lossy"))  # else a map is a list of pairs, and its keys are texts
    except UnicodeDecodeError:
        return [_as_text(value) for value in column.cast(_as_binary(column.type)).to_pylist()]


def _as_binary(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.binary()) if pa.types.is_list(kind) else pa.large_binary()


def _as_text(value: Any) -> Any:
    if isinstance(value, list):
        return [_as_text(element) for element in value]
    try:
        return value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value

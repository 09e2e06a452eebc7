"""Deterministic JSON, TOML and Parquet: the bytes depend on the value alone. Everything a run stores is written so."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import pyarrow as pa

IMAGE_ROWS: Final = 64
"""Rows per row group of files with images: a few MB, which is what a reader must hold at once."""

PLAIN_ROWS: Final = 65_536
"""Rows per row group of other files."""

_VECTOR: Final = re.compile(r"halffloat\[(\d{1,6})\]")
_STRINGS: Final = "list<string>"


def parquet_bytes(table: "pa.Table", images: bool = False) -> bytes:
    """A Parquet file, the same bytes for the same rows: fixed row groups, zstd, a checksum on every page.

    Args:
        images: most bytes are images. Such files have small row groups, no dictionaries or statistics (which would
            be copies of images), and no Arrow schema beside Parquet's own, so that bytes are read as Arrow's plain
            `binary`: Hugging Face `datasets` takes nothing else for an image.
    """
    import pyarrow as pa  # the command line writes settings by this module, and no tables
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        table.schema,
        compression="zstd",
        use_dictionary=not images,
        write_statistics=not images,
        store_schema=not images,
        # pyarrow checks it only where a reader asks; see core/tables.py.
        write_page_checksum=True,
    ) as writer:
        if images:  # without the Arrow schema, its metadata would be lost
            writer.add_key_value_metadata(table.schema.metadata or {})
        # One array a column, because pages are cut where the arrays of a chunked column end.
        writer.write_table(table.combine_chunks(), IMAGE_ROWS if images else PLAIN_ROWS)
    return bytes(sink.getvalue())


def canonical_json(value: Any) -> str:
    """Sorted, compact ASCII JSON: equal values give equal text, so a digest of it is stable."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def setting(key: str, value: Any) -> str:
    """`section.key=value` as `--set` takes it.

    Not by JSON, whose two escapes for one character (an emoji in a path) TOML refuses.
    """
    return f"{key}={_value(value)}"


def to_toml(table: Mapping[str, Any], header: str = "") -> str:
    """TOML of nested mappings, in their order; lists may hold scalars or flat mappings (one a line)."""
    nested = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    plain = {key: value for key, value in table.items() if key not in nested}
    lines = [f"\n[{header}]\n"] if header and (plain or not nested) else []
    lines += [f"{_key(key)} = {_value(value)}\n" for key, value in plain.items()]
    lines += [to_toml(value, f"{header}.{_key(key)}" if header else _key(key)) for key, value in nested.items()]
    return "".join(lines)


def encodable(text: str) -> str:
    """`text` with what UTF-8 cannot hold (half surrogates of odd file names) written out as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # JSON's escapes are TOML's, but TOML wants DEL escaped too.
        return json.dumps(encodable(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence):
        lines = any(isinstance(item, Mapping) for item in value)
        items = [_value(item) for item in value]
        return "[\n" + "".join(f"  {item},\n" for item in items) + "]" if lines else f"[{', '.join(items)}]"
    raise TypeError(f"no TOML for {value!r}")


def column_type(name: str) -> "pa.DataType":
    """The type of a column that an annotator adds: float, int32, bool, string, list<string>, halffloat[512].

    Raises:
        ValueError: there is none of that name.
    """
    import pyarrow as pa

    if matched := _VECTOR.fullmatch(name):
        return pa.list_(pa.float16(), int(matched[1]))
    return pa.list_(pa.string()) if name == _STRINGS else pa.type_for_alias(name)


def type_name(kind: "pa.DataType") -> str:
    """The name of a type, the inverse of `column_type`."""
    import pyarrow as pa

    if pa.types.is_fixed_size_list(kind):
        return f"halffloat[{kind.list_size}]"
    return _STRINGS if pa.types.is_list(kind) else str(kind)

"""The answer to a query as text: for a terminal, a spreadsheet or a program."""

import base64
import csv
import io
import json
import math
import shutil
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Final, Literal

import pyarrow as pa
from rich.cells import cell_len, set_cell_size

from capfilt.core.formatting import UNSAFE, clean

SHOWN_ROWS: Final = 1000
"""Rows that the format `table` shows before it says how many more there are."""

LEAST_WIDTH: Final = 4
"""Characters that every column gets; a table of very many columns is wider than the terminal."""

ELLIPSIS: Final = "\u2026"

FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a text starts that a spreadsheet takes for a formula."""

Format = Literal["table", "csv", "json"]


def format_table(table: pa.Table, fmt: Format, width: int | None = None) -> str:
    r"""A table as text.

    - `table`: the first 1,000 rows, columns cut to fit `width` (the terminal's); bytes as `<12.3 kB>`.
    - `csv`: bytes in base64, lists and structs as JSON. A text that a spreadsheet would take for a formula (it starts
      with = + - @, narrow or wide, a tab or a line end) gets a ' in front; numbers are left alone.
    - `json`: an array with one object a line; bytes in base64, NaN and infinity as null.

    Control characters never come out raw: they are `\x1b` in `table` and `csv` (which keeps tabs and line ends of
    quoted cells), and JSON's own escapes in `json`.
    """
    if fmt == "table":
        return _as_table(table, width or shutil.get_terminal_size().columns)
    return _as_csv(table) if fmt == "csv" else _as_json(table)


def _as_table(table: pa.Table, width: int) -> str:
    shown = [[clean(_shown(value)[:width]) for value in row] for row in _rows(table.slice(0, SHOWN_ROWS))]
    lines = [[clean(name) for name in table.column_names], *shown]
    widths = _fit([max(cell_len(line[index]) for line in lines) for index in range(table.num_columns)], width)
    lines.insert(1, ["-" * size for size in widths])
    sides = [_is_number(field.type) for field in table.schema]
    text = "".join(
        "  ".join(_pad(*cell) for cell in zip(line, widths, sides, strict=True)).rstrip() + "\n" for line in lines
    )
    cut = "... and more rows: LIMIT and OFFSET, or another format, show them\n"
    return text + (cut if table.num_rows > SHOWN_ROWS else "")


def _fit(wanted: list[int], width: int) -> list[int]:
    """Column widths that fit `width` in all: narrow columns as they are, wide ones cut to one same size."""
    room, left = width - 2 * (len(wanted) - 1), len(wanted)
    cut = max(wanted, default=0)
    for size in sorted(wanted):
        if size * left > room:
            cut = max(room // left, LEAST_WIDTH)
            break
        room, left = room - size, left - 1
    return [min(size, cut) for size in wanted]


def _pad(text: str, width: int, right: bool) -> str:
    """`text` in exactly `width` cells of a terminal, where one character may take two."""
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + ELLIPSIS
    blank = " " * (width - cell_len(text))
    return blank + text if right else text + blank


def _as_csv(table: pa.Table) -> str:
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow([_cell(name) for name in table.column_names])
    for row in _rows(_short_floats(table)):
        writer.writerow([_cell(value) for value in row])
    return sink.getvalue()


def _as_json(table: pa.Table) -> str:
    names = table.column_names
    lines = (
        json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False)
        for row in map(_plain, _rows(_short_floats(table)))
    )
    safe = [UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", line) for line in lines]
    return "[" + ",".join(f"\n{line}" for line in safe) + "\n]\n"


def _rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """Rows as Python values; by column, because a query may give two columns one name."""
    for batch in table.to_batches(max_chunksize=1000):
        yield from zip(*(column.to_pylist(maps_as_pydicts="strict") for column in batch.columns), strict=True)


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _short_floats(table: pa.Table) -> pa.Table:
    """float32 columns as the shortest decimals that mean them: 0.7 instead of 0.699999988079071."""
    for index, field in enumerate(table.schema):
        if field.type == pa.float32():
            short = table.column(index).cast(pa.string()).cast(pa.float64())
            table = table.set_column(index, field.name, short)
    return table


def _shown(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return f"<{_size(len(value))}>"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    if isinstance(value, dict):
        if value.keys() == {"bytes", "path"}:
            return _shown(value["bytes"])
        return "{" + ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) + "}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _cell(value: Any) -> str:
    plain = _plain(value)
    if plain is None:
        return ""
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    quote = "'" if isinstance(plain, str) and text.startswith(FORMULA) else ""
    return quote + clean(text, keep="\t\n")


def _plain(value: Any) -> Any:
    """`value` as JSON can say it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)

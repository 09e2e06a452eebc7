"""Numbers and texts as people read them, on a terminal, in the report and in messages."""

import re
from collections.abc import Mapping
from typing import Final

UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, and those that change the direction of writing.

Captions come from strangers: raw, such characters could move the cursor, recolor a terminal or forge a line."""


def clean(text: str, keep: str = "") -> str:
    r"""`text` on one line, harmless on a terminal: control characters become escapes such as `\x1b`.

    Args:
        keep: control characters that stay as they are.
    """
    return UNSAFE.sub(lambda match: match[0] if match[0] in keep else ascii(match[0])[1:-1], text)


def percent(share: float | None) -> str:
    """A share of 1 as "12.3 %"; "-" for None."""
    return "-" if share is None else f"{100 * share:.1f} %"


def seconds(value: float) -> str:
    """A duration: "42 s", "3:07 min", "2:05:00 h"."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02d} min" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d} h"


def speed(rows_per_second: float) -> str:
    """Like "0.25 rows/s" and "12345 rows/s"."""
    return f"{rows_per_second:.0f} rows/s" if rows_per_second >= 100 else f"{rows_per_second:.3g} rows/s"


def megabytes(count: float) -> str:
    """Bytes as people count them: "12 kB", "0.3 MB", "47 MB", "5.2 TB"."""
    if 0 < count < 1e5:
        return f"{max(count / 1000, 0.1):.1f} kB" if count < 2e4 else f"{count / 1000:.0f} kB"
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size or unit == "MB":
            value = count / size
            return f"{value:.0f} {unit}" if value >= 20 else f"{value:.1f} {unit}"
    raise AssertionError("MB is the last unit")


def memory(most: Mapping[str, int]) -> str:
    """Bytes by kind of process: "driver 0.3 GB, reader 90 MB"; "" for none."""
    return ", ".join(f"{kind} {megabytes(size)}" for kind, size in most.items())

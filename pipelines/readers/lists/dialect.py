"""Which dialect a table is written in: delimiter, quotes, escapes.

A table is read by the dialect under which most of its records hold one clean URL or path in the same column. Sniffers
that only look for rows of equal length (Python's, DuckDB's) take a caption's commas for columns: of `URL|a, b, c` they
make three columns, the first of them `URL|a`.
"""

import io
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

from capfilt.core import config
from capfilt.pipelines.readers.lists.records import Dialect, csv_fields, csv_lines, lines
from capfilt.pipelines.readers.rows.references import is_reference

DELIMITERS: Final = (",", "\t", ";", "|", "\x01")  # the last is Hive's

_SAMPLE: Final = 300
_MARGIN: Final = 0.02
"""Another dialect than the usual one must read so many more of the records."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How well a dialect reads a sample."""

    dialect: Dialect
    width: int  # columns of most records
    listed: float  # share of records of that width with a clean reference in the column that has most of them
    spoiled: int  # records that break the rules of quoting


# Parsed by Python's csv, not DuckDB: a chunk is read from a byte offset, which DuckDB's reader does not take, and of
# two lists separated by | it cut the captions.
def sniff(head: bytes, usual: str, settings: config.InputSettings) -> Fit:
    """The dialect of a table whose usual delimiter is `usual`, as far as the recipe does not name it."""
    delimiters = [usual, *(mark for mark in DELIMITERS if mark != usual and mark.encode() in head)]
    if settings.delimiter != "auto":
        delimiters = [settings.delimiter]
    fits = [_best_quoting(head, delimiter, settings.quote) for delimiter in delimiters]
    # The first of equals, so the usual one. Where nothing is cut, every line with a URL looks like one.
    best = max(fits, key=lambda fit: fit.listed if fit.width > 1 or fit is fits[0] else 0)
    return fits[0] if best.listed <= fits[0].listed + _MARGIN else best


def fit_of(head: bytes, dialect: Dialect, spanning: bool = True) -> Fit:
    """How well `dialect` reads the first records of `head`."""
    split = csv_lines(dialect) if spanning else lines
    pieces = [piece for piece in islice(split(io.BytesIO(head)), _SAMPLE) if piece.strip()]
    rows = [_fields(piece, dialect) for piece in pieces]
    widths = Counter(len(row) for row in rows if row)
    width = max(widths, key=lambda one: (widths[one], one), default=1)
    good = [row for row in rows if row and len(row) == width]
    listed = max((sum(is_reference(row[column]) for row in good) for column in range(width)), default=0)
    return Fit(dialect, width, listed / max(len(rows), 1), rows.count(None))


def _best_quoting(head: bytes, delimiter: str, quote: str) -> Fit:
    if quote != "auto":
        return fit_of(head, Dialect(delimiter, "" if quote == "none" else quote))
    # Another quoting is tried only where its mark stands in the sample, and must read more than the usual one.
    usual = fit_of(head, Dialect(delimiter))
    if b'\\"' in head and usual.spoiled:
        escaped = fit_of(head, replace(usual.dialect, escape="\\"))
        if escaped.spoiled < usual.spoiled and escaped.listed >= usual.listed:
            return escaped
    if b'"' in head:
        plain = fit_of(head, Dialect(delimiter, quote=""))
        if plain.listed > usual.listed + _MARGIN:
            return plain
        spaced = fit_of(head, replace(usual.dialect, spaced=True))
        if spaced.spoiled <= usual.spoiled and _reads_better(spaced, usual):
            return spaced
    single = fit_of(head, Dialect(delimiter, quote="'")) if b"'" in head else usual
    return single if single.listed > usual.listed + _MARGIN else usual


def _reads_better(one: Fit, other: Fit) -> bool:
    """Whether a fit reads at least as many records and, as fewer fields are cut, makes fewer columns of them."""
    return one.listed >= other.listed and (one.width < other.width or one.listed > other.listed + _MARGIN)


def _fields(piece: bytes, dialect: Dialect) -> list[str] | None:
    try:
        return csv_fields(piece, dialect, strict=True)
    except ValueError:
        return None

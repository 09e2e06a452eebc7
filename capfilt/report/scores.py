"""Where the scores of all texts lie: counted in bins, so that any number of rows fits on a page."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Final

from capfilt.core.duckdb_sandbox import quoted
from capfilt.pipelines.selection.scores import is_probability
from capfilt.report.database import ReportDatabase, in_order

BINS: Final = 40
FIELDS: Final = 24
"""Bins of a histogram, and of each side of a joint histogram of two scores."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Texts of one source by one score, in `BINS` bins over [low, high]."""

    judge: str
    source: str
    low: float
    high: float
    kept: tuple[int, ...]
    dropped: tuple[int, ...]  # or undecided


@dataclass(frozen=True, slots=True)
class JointHistogram:
    """Texts of one source by two scores."""

    source: str
    x: str
    y: str
    ranges: tuple[tuple[float, float], tuple[float, float]]
    cells: dict[tuple[int, int], int]  # (bin of x, bin of y) -> texts


def histograms(database: ReportDatabase) -> list[Histogram]:
    """One for every judge and source, in that order."""
    found = []
    for judge in database.judges:
        low, high = span(database, judge)
        counts: dict[str, dict[bool, list[int]]] = defaultdict(lambda: {True: [0] * BINS, False: [0] * BINS})
        for source, keep, place, count in database.rows(
            f"SELECT source, coalesce(keep, false), {_bin(judge, BINS)}, count(*)"
            f" FROM texts WHERE isfinite({quoted(judge)}) GROUP BY ALL",
            low=low,
            high=high,
        ):
            counts[source][keep][place] = count
        found += [
            Histogram(judge, source, low, high, tuple(some[True]), tuple(some[False]))
            for source, some in in_order(counts)
        ]
    return found


def joint_histograms(database: ReportDatabase) -> list[JointHistogram]:
    """The two scores against each other, for every source; empty where fewer than two judges spoke."""
    x, y = database.score, database.other_score
    if x is None or y is None:
        return []
    ranges = span(database, x), span(database, y)
    cells: dict[str, dict[tuple[int, int], int]] = defaultdict(dict)
    for source, column, row, count in database.rows(
        f"SELECT source, {_bin(x, FIELDS)}, {_bin(y, FIELDS, '2')}, count(*) FROM texts"
        f" WHERE isfinite({quoted(x)}) AND isfinite({quoted(y)}) GROUP BY ALL",
        low=ranges[0][0],
        high=ranges[0][1],
        low2=ranges[1][0],
        high2=ranges[1][1],
    ):
        cells[source][column, row] = count
    return [JointHistogram(source, x, y, ranges, some) for source, some in in_order(cells)]


def span(database: ReportDatabase, judge: str) -> tuple[float, float]:
    """The range of an axis for a judge's scores: 0 to 1 for a probability, else what there is."""
    if is_probability(judge):
        return 0.0, 1.0
    name = quoted(judge)
    low, high = database.rows(f"SELECT min({name}), max({name}) FROM texts WHERE isfinite({name})")[0]
    return (0.0, 1.0) if low is None else (float(low), float(high) if high > low else float(low) + 1)


def _bin(judge: str, bins: int, suffix: str = "") -> str:
    place = f"floor(({quoted(judge)} - $low{suffix}) / ($high{suffix} - $low{suffix}) * {bins})"
    return f"least(greatest({place}, 0), {bins - 1})::INTEGER"

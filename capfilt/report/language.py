"""How long the texts are, and how varied."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from capfilt.report.database import READ, SOURCES, ReportDatabase, in_order

LONGEST: Final = 40
"""Words; longer texts are counted here too."""

TEXTS: Final = 40_000
"""Texts that n-grams are counted in, about: the measure falls as texts are added."""


@dataclass(frozen=True, slots=True)
class Lengths:
    """Texts of one source by their number of words, 1 to `LONGEST`."""

    source: str
    kept: tuple[int, ...]
    dropped: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Variety:
    """Different n-grams as a share of all n-grams (Li et al., 2016), of about `TEXTS` texts at most."""

    source: str
    which: str  # all or kept
    texts: int
    words: float  # a text, on average
    distinct_1: float
    distinct_2: float


def lengths(database: ReportDatabase) -> list[Lengths]:
    """For every source."""
    found: dict[str, tuple[list[int], list[int]]] = {}
    for source, keep, words, count in database.rows(
        f"SELECT source, coalesce(keep, false), least(words, {LONGEST}), count(*) FROM texts WHERE words > 0"
        " GROUP BY ALL"
    ):
        kept, dropped = found.setdefault(source, ([0] * LONGEST, [0] * LONGEST))
        (kept if keep else dropped)[words - 1] = count
    return [Lengths(source, tuple(kept), tuple(dropped)) for source, (kept, dropped) in in_order(found)]


def varieties(database: ReportDatabase) -> list[Variety]:
    """Of all texts and of the kept ones, for every source."""
    rows = database.rows(
        "SELECT texts.source, keep, left(text, $most) FROM captions JOIN texts USING (uid, candidate)"
        " WHERE uid <= $last",
        most=READ,
        last=_last(database),
    )
    found = []
    for source in [name for name in SOURCES if any(of == name for of, _, _ in rows)]:
        own = [(keep, text.casefold().split()) for of, keep, text in rows if of == source]
        found.append(_variety(source, "all", [words for _, words in own]))
        if kept := [words for keep, words in own if keep]:
            found.append(_variety(source, "kept", kept))
    return found


def _last(database: ReportDatabase) -> str:
    """The uid up to which there are about `TEXTS` texts: uids are digests, so they are evenly spread."""
    count = database.rows("SELECT count(*) FROM texts")[0][0]
    # ~ stands behind all hex digits, so the uids that begin so are in.
    return f"{min(TEXTS * 16**8 // max(count, 1), 16**8 - 1):08x}~"


def distinct(texts: Iterable[list[str]], size: int) -> float:
    """Different n-grams as a share of all, for n = 1 or 2; 0 where there is none."""
    grams = [gram for words in texts for gram in (words if size == 1 else pairwise(words))]
    return len(set(grams)) / len(grams) if grams else 0.0


def _variety(source: str, which: str, texts: list[list[str]]) -> Variety:
    words = sum(map(len, texts)) / len(texts)
    return Variety(source, which, len(texts), words, distinct(texts, 1), distinct(texts, 2))

"""Which texts are shown: what the filter is surest of, what it is least sure of, what judges disagree on."""

from dataclasses import dataclass
from typing import Any, Final

from capfilt.core.duckdb_sandbox import quoted
from capfilt.report.counts import SHOWN
from capfilt.report.database import ReportDatabase

EACH: Final = 6
"""Examples of every view, source and decision."""

BESIDE: Final = 4
"""Further texts of the image that are shown along."""

VIEWS: Final = {"sure": "most confident", "unsure": "least confident", "disagree": "judges disagree"}


@dataclass(frozen=True, slots=True)
class Text:
    """A candidate text as it is shown."""

    candidate: int
    source: str
    text: str  # its first `SHOWN` characters
    length: int  # all its characters
    keep: bool | None
    reason: str
    scores: dict[str, float | None]

    @property
    def fate(self) -> str:
        return "undecided" if self.keep is None else "kept" if self.keep else "dropped"


@dataclass(frozen=True, slots=True)
class ReportExample:
    """An image with the text it is shown for, and further texts it has."""

    uid: str
    text: Text
    beside: tuple[Text, ...]
    more: int  # texts that are not shown
    views: tuple[str, ...]  # of `VIEWS`


def choose(database: ReportDatabase) -> list[ReportExample]:
    """At most `EACH` for every view, source and decision; none if no judge scored the run."""
    chosen: dict[tuple[str, int], list[str]] = {}
    for view, uid, candidate in [*_by_confidence(database), *_by_disagreement(database)]:
        chosen.setdefault((uid, candidate), []).append(view)
    texts = _texts(database, sorted({uid for uid, _ in chosen}))
    return [_example(uid, candidate, texts[uid], views) for (uid, candidate), views in chosen.items()]


def _example(uid: str, candidate: int, texts: list[Text], views: list[str]) -> ReportExample:
    own = next(text for text in texts if text.candidate == candidate)
    rest = [text for text in texts if text.candidate != candidate]
    return ReportExample(uid, own, tuple(rest[:BESIDE]), max(len(rest) - BESIDE, 0), tuple(dict.fromkeys(views)))


def _by_confidence(database: ReportDatabase) -> list[tuple[str, str, int]]:
    """A kept text is the surer the higher its score, a dropped one the lower."""
    if database.score is None:
        return []
    # DuckDB compares structs field by field: of equal scores uid and candidate decide, so a report is always the same.
    place = f"{{s: {quoted(database.score)}, u: uid, c: candidate}}"
    rows = database.rows(
        f"SELECT keep, max({place}, {EACH}), min({place}, {EACH}) FROM texts"
        f" WHERE isfinite({quoted(database.score)}) GROUP BY source, keep ORDER BY keep DESC, source DESC"
    )
    found = []
    for keep, highest, lowest in rows:
        sure, unsure = (lowest, highest) if keep is False else (highest, lowest)
        found += [("sure", one["u"], one["c"]) for one in sure]
        found += [("unsure", one["u"], one["c"]) for one in unsure]
    return found


def _by_disagreement(database: ReportDatabase) -> list[tuple[str, str, int]]:
    """By rank, not by score: one judge's 0.3 may be another's 0.9."""
    if database.score is None or database.other_score is None:
        return []
    one, two = quoted(database.score), quoted(database.other_score)
    rows = database.rows(
        f"""
        WITH ranked AS (
            SELECT uid, candidate, source, keep, abs(
                percent_rank() OVER (PARTITION BY source ORDER BY {one})
                - percent_rank() OVER (PARTITION BY source ORDER BY {two})
            ) AS apart
            FROM texts WHERE isfinite({one}) AND isfinite({two})
        )
        SELECT max({{s: apart, u: uid, c: candidate}}, {EACH}) FROM ranked
        GROUP BY source, keep ORDER BY keep DESC, source DESC
        """
    )
    return [("disagree", place["u"], place["c"]) for (places,) in rows for place in places]


def _texts(database: ReportDatabase, uids: list[str]) -> dict[str, list[Text]]:
    """All texts of some images, by candidate."""
    found: dict[str, list[Text]] = {uid: [] for uid in uids}
    scores = ", ".join(["NULL", *map(quoted, database.judges)])
    rows = database.rows(
        f"SELECT uid, candidate, texts.source, left(text, {SHOWN}), length(text), keep, coalesce(reason, ''), {scores}"
        " FROM texts JOIN (SELECT uid, candidate, text FROM captions) USING (uid, candidate)"
        " WHERE uid IN (SELECT unnest($uids)) ORDER BY uid, candidate",
        uids=uids,
    )
    for uid, candidate, source, text, length, keep, reason, _, *values in rows:
        by_judge: dict[str, Any] = dict(zip(database.judges, values, strict=True))
        found[uid].append(Text(candidate, source, text, length, keep, reason, by_judge))
    return found

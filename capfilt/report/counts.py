"""What went in and what came out, counted over all rows."""

from dataclasses import dataclass
from typing import Final

from capfilt.ledger.status import Status
from capfilt.report.database import HOST, ReportDatabase

MOST: Final = 8
"""Lines of a list of reasons or hosts; what comes after them is one line, "other"."""

SHOWN: Final = 300
"""Characters of a text, URL or message that are shown."""


@dataclass(frozen=True, slots=True)
class Decided:
    """How many texts of one source met one fate."""

    source: str
    keep: bool | None  # None: undecided
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class Host:
    """Where rows came from, and how many failed."""

    name: str
    rows: int
    failed: int
    reason: str  # the most frequent one


@dataclass(frozen=True, slots=True)
class FailureExample:
    """An example of a reason."""

    reason: str
    count: int
    stage: str
    url: str
    detail: str
    retryable: bool


def decided(database: ReportDatabase) -> list[Decided]:
    """Texts by source, decision and reason, the largest first."""
    rows = database.rows(
        "SELECT source, keep, coalesce(reason, '') AS why, count(*) AS size FROM texts GROUP BY ALL"
        " ORDER BY size DESC, source, keep, why"
    )
    return [Decided(*row) for row in rows]


def kept_images(database: ReportDatabase) -> int:
    """Images with at least one kept text."""
    return int(database.rows("SELECT count(DISTINCT uid) FROM texts WHERE keep")[0][0])


def failures(database: ReportDatabase, stand: Status) -> list[FailureExample]:
    """One example of every reason, the most frequent reason first."""
    rows = database.rows(
        "SELECT reason, arg_min({s: stage, u: left(coalesce(url, source), $shown), d: left(detail, $shown),"
        " r: retryable}, uid) FROM failures GROUP BY reason",
        shown=SHOWN,
    )
    example = dict(rows)
    found = []
    for reason, count in stand.failures.items():
        one = example[reason]
        found.append(FailureExample(reason, count, one["s"] or "", one["u"] or "", one["d"] or "", bool(one["r"])))
    return found


def hosts(database: ReportDatabase) -> list[Host]:
    """The hosts with the most failures; rows without a URL have none. User names in URLs are not shown."""
    rows = database.rows(
        f"""
        WITH rows AS (SELECT host, NULL AS reason FROM pictures UNION ALL SELECT {HOST}, reason FROM failures)
        SELECT left(host, 80), count(*), count(reason), coalesce(mode(reason), '')
        FROM rows WHERE host <> '' GROUP BY host
        ORDER BY count(reason) DESC, count(*) DESC, host LIMIT $most
        """,
        most=MOST,
    )
    return [Host(*row) for row in rows]

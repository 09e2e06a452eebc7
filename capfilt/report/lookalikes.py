"""Images that look the same: those of one perceptual hash."""

from dataclasses import dataclass
from typing import Final

from capfilt.report.database import ReportDatabase

GROUPS: Final = 6
MEMBERS: Final = 6
"""Groups, and images of each, that are shown: the largest groups."""


@dataclass(frozen=True, slots=True)
class Lookalikes:
    """All groups of a run, and some of them to look at."""

    groups: int
    images: int  # in all groups
    shown: tuple[tuple[int, tuple[str, ...]], ...]  # size of a group, and uids of some of it


def lookalikes(database: ReportDatabase) -> Lookalikes:
    """Groups of two images or more."""
    rows = database.rows(
        "WITH groups AS ("
        "  SELECT count(*) AS size, min(uid, $members) AS uids FROM pictures GROUP BY phash HAVING size > 1"
        ")"
        " SELECT size, uids, count(*) OVER (), sum(size) OVER () FROM groups ORDER BY size DESC, uids LIMIT $groups",
        members=MEMBERS,
        groups=GROUPS,
    )
    if not rows:
        return Lookalikes(0, 0, ())
    return Lookalikes(rows[0][2], int(rows[0][3]), tuple((size, tuple(uids)) for size, uids, _, _ in rows))

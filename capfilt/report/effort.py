"""What a run has cost in time, from the files of its sessions."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from capfilt.ledger.session import Session

ORDER: Final = ("fetch", "decode", "caption", "score", "commit")
"""Stages as a row goes through them; others come last."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage over all sessions."""

    name: str
    seconds: float  # of workers, added up; they work side by side
    share: float  # of all stages' seconds
    rate: float | None  # rows a second of one worker


@dataclass(frozen=True, slots=True)
class Effort:
    """All sessions."""

    sessions: int
    finished: str  # the day and minute of the last one, UTC or its own zone
    seconds: float  # on the clock
    rows: int
    stages: tuple[Stage, ...]

    @property
    def rate(self) -> float | None:
        """Rows a second on the clock."""
        return self.rows / self.seconds if self.seconds else None


def effort(sessions: list[Session]) -> Effort:
    """Add up sessions."""
    rows = sum(session.rows for session in sessions)
    clock = sum((_time(session.finished) - _time(session.started)).total_seconds() for session in sessions)
    seconds: Counter[str] = Counter()
    for session in sessions:
        seconds.update(session.seconds)
    whole = sum(seconds.values())
    names = sorted(seconds, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    stages = [
        Stage(
            name, seconds[name], seconds[name] / whole if whole else 0, rows / seconds[name] if seconds[name] else None
        )
        for name in names
    ]
    last = f"{_time(sessions[-1].finished):%Y-%m-%d %H:%M %Z}" if sessions else ""
    return Effort(len(sessions), last, clock, rows, tuple(stages))


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)

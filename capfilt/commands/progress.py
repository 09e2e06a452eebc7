"""How far work on a run is, and how fast it goes: what a listener hears, and says."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from capfilt.core.formatting import seconds, speed

_PHASES: Final = {
    "plan": "planning",
    "planned": "planned",
    "start": "starting workers",
    "work": "working",
    "select": "selecting",
    "done": "done",
}


@dataclass(frozen=True, slots=True)
class RunProgress:
    """What a listener hears: a phase, and how far the chunks are."""

    phase: str  # plan, planned, start, work, select, done
    rows_done: int = 0  # earlier sessions included
    rows_planned: int = 0
    chunks_done: int = 0
    chunks: int = 0
    failures: dict[str, int] = field(default_factory=dict)  # by reason, this session
    notes: tuple[str, ...] = ()  # once it is planned: what was left out of folders, and why; a line each
    rows_now: int = 0  # committed by this session
    working: float = 0.0  # seconds of work of this session, see `WorkTime`

    @property
    def rate(self) -> float | None:
        """Rows a second of this session, without the start of workers; None before the first chunk."""
        return self.rows_now / self.working if self.working else None


Listener = Callable[[RunProgress], None]


class RateMeter:
    """How fast a run goes: rows a second of this session, and what is left, as of the moment it is asked.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard = clock()
        self.latest: RunProgress | None = None

    def hear(self, progress: RunProgress) -> None:
        """Take in where the run is."""
        self.latest, self._heard = progress, self._clock()

    def words(self) -> str:
        """Like "working: 384/600 rows, 12 failed, 41 rows/s, 5 s left"."""
        now = self.latest
        if now is None:
            return ""
        phase = _PHASES.get(now.phase, now.phase)
        if not now.rows_planned:
            return phase
        failed = sum(now.failures.values())
        parts = (f"{now.rows_done}/{now.rows_planned} rows", f"{failed} failed" if failed else "", *self._speed(now))
        return f"{phase}: {', '.join(filter(None, parts))}"

    def _speed(self, now: RunProgress) -> list[str]:
        if not now.rate:
            return []
        left = max(0.0, (now.rows_planned - now.rows_done) / now.rate - (self._clock() - self._heard))
        return [speed(now.rate), f"{seconds(left)} left"]

"""How far work on a run is: what a listener hears."""

from collections.abc import Callable
from dataclasses import dataclass, field


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

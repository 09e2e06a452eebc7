"""sessions/000000.json: how long each start of the driver took. No other file of a run holds times."""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime

from capfilt.core.storage import Folder


@dataclass(frozen=True, slots=True)
class Session:
    """One start of the driver. Saved repeatedly while it works, so that an interrupted driver leaves its last state."""

    started: str  # ISO 8601 with zone
    finished: str  # ISO 8601 with zone: when it was saved last
    rows: int  # committed by this session
    seconds: dict[str, float]  # by stage
    memory: dict[str, int] = field(default_factory=dict)  # bytes that a process held at most, by its kind
    working: float = 0.0  # seconds of work, without the start of workers; 0 = none yet, or written before 0.2

    @property
    def rate(self) -> float | None:
        """Rows a second of work, None when no time passed."""
        passed = (
            self.working
            or (datetime.fromisoformat(self.finished) - datetime.fromisoformat(self.started)).total_seconds()
        )
        return self.rows / passed if passed > 0 else None

    def busy(self, actors: int) -> float | None:
        """Share of the time of work that so many model actors spent in their stages, None when no model worked."""
        spent = self.seconds.get("caption", 0.0) + self.seconds.get("score", 0.0)
        return min(1.0, spent / (self.working * actors)) if spent and self.working else None


def save_session(folder: Folder, session: Session, number: int | None = None) -> int:
    """Write a session, a new one unless `number` is that of an earlier save; gives its number."""
    number = len(folder.names("sessions", ".json")) if number is None else number
    text = json.dumps(asdict(session), indent=2, sort_keys=True)
    folder.write(f"sessions/{number:06d}.json", text.encode() + b"\n")
    return number


def read_sessions(folder: Folder) -> list[Session]:
    """All sessions of a run, oldest first."""
    return [Session(**json.loads(folder.read(name))) for name in folder.names("sessions", ".json")]

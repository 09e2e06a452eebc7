"""The breaker: ends a run of which nearly everything fails in one way, before the rest of it fails so too.

That has one cause for all rows (a wrong column, no network, a captioner that refuses), so going on costs hours for
nothing. Rows that fail for many reasons, as those of old URL lists do, stop no run.
"""

from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from capfilt.core.config import RunLimits
from capfilt.core.errors import RunFailed
from capfilt.core.schema import Reason, Trait
from capfilt.pipelines.engine.chunk.outcome import ChunkOutcome
from capfilt.pipelines.engine.chunk.symptoms import Captions

FIRST: Final = 200
"""Rows from which on a share says something."""

WINDOW: Final = 1000
"""Rows that the share is taken over: those of the latest chunks, as many as hold so many."""

FEWEST_CHUNKS: Final = 2
"""Chunks that the share is taken over at least, and that must be broken: one alone may have met a passing fault."""

NEARLY_ALL: Final = 0.9
"""Share of failed rows that ends a run whatever their reasons are, unless `run.max_failures` allows more."""

FEWEST_CAPTIONS: Final = 100
"""Captions of one captioner from which on their share says something."""


class Breaker:
    """Hears of every chunk, committed or failed."""

    def __init__(self, settings: RunLimits) -> None:
        self.settings = settings
        self.window: deque[ChunkOutcome] = deque()

    def hear(self, outcome: ChunkOutcome) -> None:
        """Take in a chunk that was committed, or that an error stopped.

        Raises:
            RunFailed: one line with the commonest reason, its detail and the setting to look at.
        """
        self.window.append(outcome)
        while len(self.window) > FEWEST_CHUNKS and self._rows() - self.window[0].planned >= WINDOW:
            self.window.popleft()
        if self._rows() < FIRST:
            return
        if problem := self._broken_chunks() or self._failures() or self._refusals():
            raise RunFailed(f"stopped: {problem} goes on; committed chunks are kept")

    def _rows(self) -> int:
        return sum(one.planned for one in self.window)

    def _broken_chunks(self) -> str:
        """Chunks that an error stopped as a whole: a store that takes no writes, a server that is gone."""
        broken = [one for one in self.window if one.error]
        lost, rows = sum(one.planned for one in broken), self._rows()
        if len(broken) < FEWEST_CHUNKS or lost <= self.settings.max_failures * rows:
            return ""
        error, _ = Counter(one.error for one in broken).most_common(1)[0]
        return f"{lost} of the latest {rows} rows are in chunks that failed ({error}); --set run.max_failures=1"

    def _failures(self) -> str:
        reasons: Counter[str] = Counter()
        for outcome in self.window:
            reasons.update(outcome.reasons)
        reasons.pop(Reason.FORGOTTEN, None)  # an owner's request is no fault of the run
        rows = self._rows()
        limit = self.settings.max_failures
        if _in_one_way(reasons) <= limit * rows and reasons.total() <= max(limit, NEARLY_ALL) * rows:
            return ""
        reason, count = reasons.most_common(1)[0]
        details = (one.symptoms.details.get(reason, "") for one in reversed(self.window))
        said = next(filter(None, details), Reason(reason).meaning)
        others = f", {count} as {reason}" if count < reasons.total() else f" as {reason}"
        return (
            f"{reasons.total()} of the latest {rows} rows failed{others} ({said}): "
            f"look at {Reason(reason).look_at}; --set run.max_failures=1"
        )

    def _refusals(self) -> str:
        for captioner in sorted({name for one in self.window for name in one.symptoms.captions}):
            parts = [one.symptoms.captions[captioner] for one in self.window if captioner in one.symptoms.captions]
            written, unusable = sum(part.written for part in parts), sum(part.unusable for part in parts)
            if written >= FEWEST_CAPTIONS and unusable > self.settings.max_refusals * written:
                return (
                    f"{unusable} of the latest {written} captions by {captioner} are unusable, most {_said(parts)}: "
                    "look at caption.captioner, caption.prompt and [endpoint]; --set run.max_refusals=1"
                )
        return ""


def _in_one_way(reasons: Counter[str]) -> int:
    """Rows that failed in the commonest way; all retryable ones are one way, for a dead network has many."""
    passing = sum(count for reason, count in reasons.items() if Reason(reason).has(Trait.RETRYABLE))
    return max(passing, *(reasons.values() or (0,)))


def _said(parts: Sequence[Captions]) -> str:
    worst = max(parts, key=lambda part: part.unusable)
    return f"{worst.flag} ({worst.example!r})" if worst.example.strip() else worst.flag

"""How long a session has worked: one clock for the rate that a run shows and the one that `capfilt status` shows."""

import time
from collections.abc import Callable, Mapping


class WorkTime:
    """Seconds of work, without the time in which workers start and models load.

    It begins where the first chunk that is committed was begun: the seconds of its stages before its commit.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: float | None = None

    def commit(self, seconds: Mapping[str, float]) -> float:
        """A chunk was committed, after so many seconds by stage; gives the seconds of work until now."""
        now = self._clock()
        if self._began is None:
            self._began = now - sum(seconds.values())
        return now - self._began

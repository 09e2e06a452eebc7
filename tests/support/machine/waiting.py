"""Waiting for what another process does, and how much a piece of work computes; neither asks the clock on the wall."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def wait_until(
    happened: Callable[[], bool], alive: Callable[[], bool] = lambda: True, said: Callable[[], str] = lambda: ""
) -> None:
    """Look again and again until it has happened; a test that waits in vain ends by its timeout.

    Raises:
        AssertionError: who should do it has ended, and it has not happened; with what `said` gives.
    """
    while not happened():
        lives = alive()  # before the last look, or what happens in between is missed
        if not lives and not happened():
            raise AssertionError(f"the process ended, and what was waited for has not happened {said()}".rstrip())
        time.sleep(0.02)


@contextmanager
def at_most_cpu(seconds: float) -> Iterator[None]:
    """The block computes no longer, all threads of this process together; waiting for other processes is free."""
    before = time.process_time()
    yield
    used = time.process_time() - before
    assert used < seconds, f"{used:.1f} s of CPU"

"""What Ray changes in the driver's process, put back: its environment, its loggers and who answers SIGTERM."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Environment variables for a while, where none of that name is set; processes started meanwhile have them."""
    ours = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@contextmanager
def loggers(*names: str) -> Iterator[None]:
    """Levels, handlers and propagation of these loggers may change meanwhile; afterwards they are as before."""
    before = [(logger, logger.level, logger.handlers[:], logger.propagate) for logger in map(logging.getLogger, names)]
    try:
        yield
    finally:
        for logger, level, handlers, propagate in before:
            logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.propagate = propagate


@contextmanager
def sigterm_waits() -> Iterator[None]:
    """Around a start or an end of Ray: a SIGTERM is answered afterwards, by the handler that was there before.

    `ray.init` installs a handler that raises SystemExit(15), which is caught here; its native core installs a second
    one when it starts and none at all when it ends, and leaves it so. What cannot be helped: while the native core
    connects, or a Ray of this process's own ends, each a second or so, SIGTERM ends the process as it ends one
    without a handler. In another thread than the main one, or where SIGTERM is not Python's to handle, nothing is done.
    """
    before, came = signal.getsignal(signal.SIGTERM), threading.Event()
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGTERM, lambda *_: came.set())
    stopped: SystemExit | None = None
    try:
        yield
    except SystemExit as exited:
        if exited.code != signal.SIGTERM:
            raise
        stopped = exited
        came.set()
    finally:
        signal.signal(signal.SIGTERM, before)
        if came.is_set():
            signal.raise_signal(signal.SIGTERM)
    if stopped:  # the handler let the process go on, but Ray is only half there
        raise stopped

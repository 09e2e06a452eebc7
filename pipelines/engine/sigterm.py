"""SIGTERM waits for Ray to have started or ended."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def sigterm_waits(ray: Any) -> Iterator[None]:
    """A SIGTERM that comes meanwhile reaches the caller's handler afterwards; that handler stands there again then.

    Ray puts a handler of its own there, which exits with code 15 wherever it is; it is refused. Its native core puts
    a second one there when it starts and none at all when it ends, and leaves it so. What cannot be helped: while the
    native core connects, or a Ray of this process's own ends, each a second or some, SIGTERM ends the process as it
    ends one without a handler.
    In another thread than the main one, or where SIGTERM is not Python's to handle, nothing is done.
    """
    before, came = signal.getsignal(signal.SIGTERM), threading.Event()
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    utils = ray._private.utils
    theirs, utils.set_sigterm_handler = utils.set_sigterm_handler, lambda _: None
    signal.signal(signal.SIGTERM, lambda *_: came.set())
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs
        signal.signal(signal.SIGTERM, before)
        if came.is_set():
            signal.raise_signal(signal.SIGTERM)

"""A lease: one driver at a time for a folder that no kernel can lock, such as one on a bucket.

The owner writes `lease.json` and renews it; a lease not renewed for `TERM` seconds is free, so a dead owner cannot hold
it for ever. pyarrow offers no conditional put on object stores, so a new owner waits a moment and reads back what it
wrote: of two, the last writer wins and the other one sees it. Should two drivers still work at once (clocks that differ
by more than `TERM`), they write the same bytes under the same names.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from capfilt.core.errors import BusyError
from capfilt.core.storage import Folder

NAME: Final = "lease.json"
TERM: Final = 90.0
"""Seconds after its last renewal that a lease still holds."""
RENEWAL: Final = 20.0
CONFIRM: Final = 1.0
"""Seconds between writing a lease and believing it."""


@contextmanager
def lease(folder: Folder, *, term: float = TERM, renewal: float = RENEWAL, confirm: float = CONFIRM) -> Iterator[None]:
    """Hold the folder's lease while the context lasts.

    Raises:
        BusyError: somebody else holds it, or took it over while this process slept through a whole term.
    """
    owner = uuid.uuid4().hex
    _refuse_if_held(folder, owner)
    _write(folder, owner, term)
    time.sleep(confirm)
    _refuse_if_held(folder, owner)
    stop, lost = threading.Event(), threading.Event()
    keeper = threading.Thread(target=_keep, args=(folder, owner, term, renewal, stop, lost), daemon=True)
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()
        if not lost.is_set() and _read(folder).get("owner") == owner:
            folder.delete(NAME)
    if lost.is_set():
        raise BusyError(f"{folder.location} was taken over by another run; its work and this one's are the same")


def _keep(
    folder: Folder, owner: str, term: float, renewal: float, stop: threading.Event, lost: threading.Event
) -> None:
    while not stop.wait(renewal):
        if _read(folder).get("owner") not in (None, owner):
            lost.set()
            return
        _write(folder, owner, term)


def _refuse_if_held(folder: Folder, owner: str) -> None:
    held = _read(folder)
    if held.get("owner", owner) != owner and held["until"] > time.time():
        left = round(held["until"] - time.time())
        raise BusyError(f"{folder.location} is being written by {held['who']}; if that process is dead, wait {left} s")


def _write(folder: Folder, owner: str, term: float) -> None:
    who = f"process {os.getpid()} on {socket.gethostname()}"
    folder.write(NAME, json.dumps({"owner": owner, "who": who, "until": time.time() + term}).encode())


def _read(folder: Folder) -> dict[str, Any]:
    try:
        return dict(json.loads(folder.read(NAME)))
    except FileNotFoundError:
        return {}

"""One driver at a time for the folder of a run."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from capfilt.core.disk.directories import make_directory
from capfilt.core.errors import BusyError
from capfilt.core.storage import Folder
from capfilt.ledger.locking.lease import lease


@contextmanager
def only_driver(folder: Folder) -> Iterator[None]:
    """Be the only driver of a folder while the context lasts.

    Local folders: `flock` on .lock, which the kernel gives back when its owner dies, however it dies. On a bucket:
    a `lease`, which ends by itself.

    Raises:
        BusyError: another live process holds it; one line with its process id and host.
    """
    if not folder.is_local:
        with lease(folder):
            yield
        return
    path = Path(folder.full(".lock"))
    make_directory(path.parent)
    # "a+" and not "w": until the lock is ours, the file names its owner.
    with path.open("a+", encoding="utf-8") as stream:
        _flock(stream.fileno(), path, folder.location)
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {socket.gethostname()}")
        stream.flush()
        yield


def _flock(descriptor: int, path: Path, location: str) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        # Empty for a moment, while its owner writes its name.
        owner = path.read_text(encoding="utf-8") or "another process"
        raise BusyError(f"{location} is being written by {owner}") from error

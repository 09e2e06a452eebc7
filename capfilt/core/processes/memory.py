"""How much memory a process may take, and how much it and the processes it started have taken at most."""

import re
import resource
import sys
from functools import cache
from pathlib import Path
from typing import Final

STATUS: Final = Path("/proc/self/status")  # of Linux; elsewhere there is none

# By kind: what a child process held at most; their own counts end with them.
_CHILDREN: Final[dict[str, int]] = {}


def peak_memory() -> int:
    """Bytes that this process has held at most since it began, shared ones included."""
    if STATUS.is_file():  # `getrusage` also counts the process that started this one
        return _status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def note_peak(kind: str, size: int) -> None:
    """Remember what a process of this kind, started by this one, has held at most."""
    _CHILDREN[kind] = max(size, _CHILDREN.get(kind, 0))


def peaks_of_children() -> dict[str, int]:
    """Bytes that a process started by this one has held at most, by kind."""
    return dict(_CHILDREN)


def limit_memory(size: int) -> None:
    """Let this process take `size` bytes more than when it was first limited.

    What exceeds it fails as a MemoryError, or ends the process where a library does not check what it allocates.
    Counted is what is writable and its own (RLIMIT_DATA): address space that is only reserved, files that are mapped
    and blocks shared with other processes are not. Systems other than Linux do not count what `malloc` maps.
    """
    # The hard limit stays as it is: the next order may allow more, and a hard limit can only be lowered.
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    wanted = _data_at_first() + size
    soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


@cache
def _data_at_first() -> int:
    return _status("VmData")


def _status(name: str) -> int:
    """A field of /proc/self/status in bytes; 0 where there is none."""
    found = re.search(rf"{name}:\s*(\d+) kB", STATUS.read_text(encoding="utf-8")) if STATUS.is_file() else None
    return int(found[1]) * 1024 if found else 0

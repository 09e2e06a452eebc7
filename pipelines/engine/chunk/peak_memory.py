"""The most memory that a process with models has used."""

import re
import sys
from pathlib import Path

PeakMemory = dict[str, int]
"""Bytes at most so far: `host` of main memory, `device` of a GPU's if it was used."""


def peak_memory() -> PeakMemory:
    """Of this process, since it began."""
    device = 0
    if torch := sys.modules.get("torch"):  # a process that never loaded it has used no GPU
        device = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
    return {"host": _host(), **({"device": device} if device else {})}


def larger(a: PeakMemory, b: PeakMemory) -> PeakMemory:
    """The larger of two processes, by kind of memory."""
    return {kind: max(a.get(kind, 0), b.get(kind, 0)) for kind in {**a, **b}}


def _host() -> int:
    status = Path("/proc/self/status")
    if status.is_file():  # `getrusage` also counts the process that started this one
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"))
        return int(found[1]) * 1024 if found else 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

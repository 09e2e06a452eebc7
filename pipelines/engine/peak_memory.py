"""How much memory a process with models takes at most."""

import re
from pathlib import Path

Footprint = dict[str, int]
"""Bytes at most so far: `host` of main memory, `device` of a GPU's if there is one."""


def footprint() -> Footprint:
    """Of this process, since it began."""
    import torch

    device = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
    return {"host": _host(), **({"device": device} if device else {})}


def larger(a: Footprint, b: Footprint) -> Footprint:
    """What the larger one of two processes takes, of each kind of memory."""
    return {kind: max(a.get(kind, 0), b.get(kind, 0)) for kind in {**a, **b}}


def _host() -> int:
    status = Path("/proc/self/status")
    if status.is_file():  # `getrusage` would tell of the process that started this one, too
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read_text(encoding="utf-8"))
        return int(found[1]) * 1024 if found else 0
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

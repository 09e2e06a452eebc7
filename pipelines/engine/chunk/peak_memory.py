"""The most memory that the processes of a run have held, by kind of process."""

import sys

from capfilt.core.processes import memory

PeakMemory = dict[str, int]
"""Bytes at most so far by kind: driver, worker (it fetches, decodes and commits), model, gpu, reader, decoder."""


def peak_memory(kind: str) -> PeakMemory:
    """Of this process, which is of this kind, and of those that it started; since they began."""
    device = 0
    if torch := sys.modules.get("torch"):  # a process that never loaded it has used no GPU
        # Reserved, not allocated: what torch's cache holds is not there for another process.
        device = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
    return {kind: memory.peak_memory(), **memory.peaks_of_children(), **({"gpu": device} if device else {})}


def larger(a: PeakMemory, b: PeakMemory) -> PeakMemory:
    """The larger of two processes of each kind."""
    return {kind: max(a.get(kind, 0), b.get(kind, 0)) for kind in {**a, **b}}

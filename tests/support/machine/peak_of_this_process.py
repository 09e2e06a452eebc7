"""How far the memory of this process grows during a piece of work."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from capfilt.core.processes.memory import peak_memory


@contextmanager
def peak_growth() -> Iterator[list[int]]:
    """Gives a list that holds, afterwards, the bytes by which the peak exceeds what was held before."""
    grown: list[int] = []
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what is held now
    before = peak_memory()
    yield grown
    grown.append(peak_memory() - before)

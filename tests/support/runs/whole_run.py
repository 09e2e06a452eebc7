"""A run from outside: its tables' digests, how far it is, and `capfilt run` as a process of its own."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

TABLES = ("images", "captions", "failures", "commits", "decisions", "corpus")


def digests(out: Path) -> dict[str, str]:
    """The sha256 of every table's files, and of the plan, by path."""
    files = [path for table in TABLES for path in sorted((out / table).glob("*.parquet"))]
    return {
        str(path.relative_to(out)): sha256(path.read_bytes()).hexdigest() for path in [out / "plan.parquet", *files]
    }


def commits(out: Path) -> int:
    """How many chunks are committed."""
    return len(list((out / "commits").glob("*.parquet")))


@contextmanager
def driver(pictures: Path, out: Path, settings: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """`capfilt run` as a process of its own; whatever happens, it is killed in the end."""
    sets = [word for value in settings for word in ("--set", value)]
    command = [sys.executable, "-m", "capfilt", "run", str(pictures), "--out", str(out), *sets]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()

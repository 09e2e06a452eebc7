"""Decoding in a process of its own, which a file may crash or hang: then that file is bad, and all others are not.

Codecs are native code, and this is the code that strangers' bytes reach. The process is started once and kept; it
costs little, because files and pixels are handed over in shared memory. When it dies, the rows that were at work are
tried again one by one: the one that kills it alone is the one.
"""

import atexit
import base64
import json
import math
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final, cast

import numpy as np

from capfilt.core.config import AS_THEY_CAME, DecodeSettings, OutputSettings
from capfilt.core.processes.block import open_block
from capfilt.core.processes.child_process import ChildProcess
from capfilt.core.schema import Reason
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.imaging.decode_images import Canvases, File, ImageFacts, Outcome
from capfilt.pipelines.imaging.image_file import BadImage
from capfilt.pipelines.imaging.isolation.shared_memory import Shared, total
from capfilt.pipelines.imaging.pillow import pillow_rules
from capfilt.pipelines.imaging.plain_file import LIMITS, PlainFile, Suffix, is_surely_plain

LOOK_UP: Final = 1.0
"""Seconds between two looks at the clock."""
CHILD: Final = "capfilt.pipelines.imaging.isolation.child"
IDLE: Final = 3
"""Processes in a row that die before any file is at work: then it is not the files."""

ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR", "MALLOC_ARENA_MAX", "PILLOW_BLOCK_SIZE")
"""All that the process learns of ours: who takes it over finds no keys."""


def decode_isolated(
    files: Sequence[File | None],
    specs: Sequence[PixelSpec],
    settings: DecodeSettings,
    threads: int | None,
    output: OutputSettings = AS_THEY_CAME,
) -> tuple[list[Outcome | None], Canvases]:
    """What there is to say of every file (None is no file), and the pixels; see `decode_images`.

    Raises:
        RuntimeError: the process does not start, or dies of something else than files.
    """
    found, canvases = _isolated(files, specs, settings, threads, {"plain": False, "output": output.model_dump()})
    return [cast(Outcome | None, found.get(row)) for row in range(len(files))], canvases


def plain_isolated(files: Sequence[bytes | None], suffix: Suffix | None) -> list[PlainFile | BadImage]:
    """`plain_file` of every file, None where there is no file.

    Raises:
        RuntimeError: as `decode_isolated`.
    """
    with pillow_rules(LIMITS.max_pixels):
        known = {row for row, file in enumerate(files) if file is None or is_surely_plain(file, suffix)}
    if len(known) == len(files):
        return [None] * len(files)
    rest = [None if row in known else file for row, file in enumerate(files)]
    found, _ = _isolated(rest, (), LIMITS, None, {"plain": True, "suffix": suffix})
    return [cast(PlainFile | BadImage, found.get(row)) for row in range(len(files))]


def _isolated(
    files: Sequence[File | None],
    specs: Sequence[PixelSpec],
    settings: DecodeSettings,
    threads: int | None,
    task: dict[str, object],
) -> tuple[dict[int, object], Canvases]:
    size = sum(len(file) for file in files if file is not None)
    descriptor = open_block(total(len(files), size, specs))
    try:
        shared = Shared(descriptor, len(files), size, specs)
        shared.fill(files)
        order = task | {
            "rows": len(files),
            "size": size,
            "decode": settings.model_dump(),
            "pixels": [asdict(spec) for spec in specs],
        }
        with _LOCK:
            wanted = [row for row, file in enumerate(files) if file is not None]
            try:
                found = _Work(shared, descriptor, order, settings.timeout).all(wanted, threads)
            except BaseException:  # Ctrl-C too: answers that were not read would be taken for those of the next block
                _PROCESSES.close()
                raise
    finally:
        os.close(descriptor)
    return found, shared.canvases


class _Work:
    """One block of files, worked off by as many processes as it takes."""

    def __init__(self, shared: Shared, descriptor: int, order: dict[str, object], limit: float) -> None:
        self.shared = shared
        self.descriptor = descriptor
        self.order = order
        self.limit = limit
        self.found: dict[int, object] = {}

    def all(self, rows: Sequence[int], threads: int | None) -> dict[int, object]:
        """The outcome of every row."""
        idle = 0
        while left := [row for row in rows if row not in self.found]:
            before = len(self.found)
            end = self._attempt(left, threads)
            for row in self._at_work() if end else ():
                if (end_of_one := self._attempt([row], 1)) and row not in self.found:
                    self.found[row] = end_of_one
            idle = 0 if len(self.found) > before else idle + 1
            if idle == IDLE:
                raise RuntimeError(
                    f"{end.detail if end else 'the decoding process left rows out'}, no file was at work"
                )
        return self.found

    def _at_work(self, since_before: float = math.inf) -> list[int]:
        """The rows that are at work at this moment, and since then."""
        since = self.shared.since.copy()  # it changes as we look
        return [int(row) for row in since.nonzero()[0] if since[row] < since_before and int(row) not in self.found]

    def _attempt(self, rows: Sequence[int], threads: int | None) -> BadImage | None:
        """Have rows decoded; if it does not come to its end: why not, in the words of a row that is to blame."""
        self.shared.since[:] = 0
        self.shared.wanted[:] = 0
        self.shared.wanted[np.asarray(rows, np.intp)] = 1
        process = _PROCESSES.get()
        late = False
        try:
            process.send(json.dumps(self.order | {"threads": threads}), self.descriptor)
            while True:
                for line in process.lines(LOOK_UP):
                    if line.get("end"):
                        return None
                    if line.get("failed"):
                        process.last_words = f" ({line['failed']})"
                    else:
                        self._take(line)
                if not late and self._at_work(time.monotonic() - self.limit):
                    late = True
                    process.kill()
        # EOFError: it ended while it was waited for; OSError: it was gone before it had its order.
        except (EOFError, OSError):
            died = process.died()
        if late:
            return BadImage(Reason.TOO_SLOW, f"not decoded within {self.limit:g} s")
        return BadImage(Reason.CODEC_CRASH, f"the decoding process {died}")

    def _take(self, line: dict[str, object]) -> None:
        row, facts, bad = line["row"], line.get("facts"), line.get("bad")
        assert isinstance(row, int)
        if isinstance(facts, dict):
            stored = None if facts["stored"] is None else base64.b64decode(facts["stored"])
            self.found[row] = ImageFacts(
                **facts | {"color_layout": bytes.fromhex(facts["color_layout"]), "stored": stored}
            )
        elif isinstance(bad, list):
            self.found[row] = BadImage(Reason(bad[0]), bad[1])
        elif "plain" in line:
            made = cast(list[str] | None, line["plain"])
            self.found[row] = (made[0], base64.b64decode(made[1])) if made else None


class _Processes:
    """The one process of this process; a fork of this process gets one of its own."""

    def __init__(self) -> None:
        self._owner = 0
        self._process: ChildProcess | None = None

    def get(self) -> ChildProcess:
        if self._owner != os.getpid():
            self._process, self._owner = None, os.getpid()
        if self._process is None or not self._process.alive:
            self.close()
            environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
            # glibc keeps freed memory by thread, and the process has a memory limit: two arenas for all threads.
            self._process = ChildProcess(CHILD, "decoder", {"MALLOC_ARENA_MAX": "2", **environment})
        return self._process

    def close(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.close()
        self._process = None


_LOCK: Final = threading.Lock()
_PROCESSES: Final = _Processes()
atexit.register(_PROCESSES.close)

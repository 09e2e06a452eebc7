"""Work on an input file in a process with a memory limit: what a file unpacks to is not known before it is unpacked.

Neither a footer nor a page header bounds it: a dictionary, a prefix that is repeated, a packed buffer or a list in a
list make gigabytes of some kilobytes, in native code and in Python objects. So the limit is that of a process
(`limit_memory`). As a rule it shows as a MemoryError, which costs the rows that were being read. pyarrow's ORC reader
dies of it, and then the process does.
"""

import atexit
import json
import mmap
import os
import threading
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import pyarrow as pa

from capfilt.core.errors import ConfigError, InputError, IntegrityError, StorageError
from capfilt.core.processes.block import open_block
from capfilt.core.processes.child_process import Answer, ChildProcess
from capfilt.pipelines.readers.files.failures import NotAnInput, NothingToRead, Unreadable
from capfilt.pipelines.readers.text.encoding import UnnamedEncoding

CHILD: Final = "capfilt.pipelines.readers.child"

TRIES: Final = 2
"""Processes that may die on one order; a single death may have come from outside."""

# By name, for errors cross the socket as JSON. Those that somebody catches by class; all others become RuntimeErrors.
_ERRORS: Final[dict[str, type[Exception]]] = {
    error.__name__: error
    for error in (
        ConfigError,
        InputError,
        IntegrityError,
        NotAnInput,
        NothingToRead,
        StorageError,
        UnnamedEncoding,
        FileNotFoundError,
        PermissionError,
    )
}


def values(work: str, arguments: Mapping[str, Any], memory: int) -> Iterator[Any]:
    """What `child.WORK[work]` gives for these arguments, one JSON value after the other.

    Args:
        arguments: by name, what JSON can hold.
        memory: bytes that the process may take.

    Raises:
        Unreadable: it took more, or died `TRIES` times.
        Exception: what the work raised.
    """
    with _block() as block:
        yield from _answers(block, work, arguments, memory)


def table(work: str, arguments: Mapping[str, Any], memory: int) -> pa.Table:
    """The table that `child.WORK[work]` gives, in a block of its own; arguments and errors as of `values`."""
    with _block() as block:
        (size,) = _answers(block, work, arguments, memory)
        return pa.ipc.open_stream(pa.py_buffer(mmap.mmap(block, size, access=mmap.ACCESS_READ))).read_all()


class _Died(Exception):
    """The process is gone; how. Or it lacks memory, but had worked before, and may hold some of that work."""


def _answers(block: int, work: str, arguments: Mapping[str, Any], memory: int) -> Iterator[Any]:
    for attempt in range(1, TRIES + 1):
        begun = False
        try:
            for value in _asked(block, work, arguments, memory):
                begun = True
                yield value
            return
        except _Died as died:
            # Values given on cannot be taken back: a second try would give them twice.
            if begun or attempt == TRIES:
                raise Unreadable(f"the process that reads it {died}") from died


def _asked(block: int, work: str, arguments: Mapping[str, Any], memory: int) -> Iterator[Any]:
    order = json.dumps({"work": work, "arguments": arguments, "memory": memory}).encode()
    os.truncate(block, 0)
    os.pwrite(block, order, 0)
    with _PROCESSES.one() as process:
        try:
            process.send("order\n", block)
            answer = yield from _until_the_end(process)
        except (EOFError, ConnectionError) as error:
            raise _Died(process.died()) from error
        if answer.get("memory"):
            raise _Died("has too little memory left") if process.worked else _failure(answer, memory)
    if "end" not in answer:  # raised out here, for the process is as good as before
        raise _failure(answer, memory)


def _until_the_end(process: ChildProcess) -> Generator[Any, None, Answer]:
    """The values of an order; gives the answer behind them."""
    while True:
        for answer in process.lines():
            if "value" not in answer:
                return answer
            yield answer["value"]


def _failure(answer: Answer, memory: int) -> Exception:
    if answer.get("memory"):
        return Unreadable(f"takes more than {memory:,} bytes of memory to read; see input.memory")
    name, message = answer["error"], answer["message"]
    if known := _ERRORS.get(name):
        return known(message)
    if answer["system"]:  # of a bucket, say: another try may help
        return OSError(message)
    failure = RuntimeError(f"{name}: {message}")
    failure.add_note(answer["traceback"])
    return failure


@contextmanager
def _block() -> Iterator[int]:
    descriptor = open_block(0)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Processes:
    """Processes that are started as they are needed; one that is idle is kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: ChildProcess | None = None
        self._state: object = None

    @contextmanager
    def one(self) -> Iterator[ChildProcess]:
        """A process for one order; it is ended unless the order comes to its end, or to an error of the work."""
        process = self._taken() or ChildProcess(CHILD, "reader", os.environ)
        try:
            yield process
        # GeneratorExit: whoever stopped reading left answers in the socket, and the next order would take them for its
        # own.
        except (Exception, GeneratorExit, KeyboardInterrupt):
            process.close()
            raise
        process.worked = True
        with self._lock:
            spare, self._idle, self._state = self._idle, process, _state()
        if spare:
            spare.close()

    def _taken(self) -> ChildProcess | None:
        """The idle one, if it is ours and knows the same environment, with the keys of buckets, as we do."""
        with self._lock:
            process, self._idle = self._idle, None
            is_ours = process is not None and self._state == _state()
        if process is None or (is_ours and process.alive):
            return process
        # Only where it is ours: after a fork it is the parent's, which may have an order in it. Ignored: the state is a
        # tuple wherever there is a process.
        if self._state[0] == os.getpid():  # type: ignore[index]
            process.close()
        return None

    def close(self) -> None:
        """End the idle one."""
        if process := self._taken():
            process.close()


def _state() -> tuple[int, dict[str, str]]:
    return os.getpid(), dict(os.environ)


_PROCESSES: Final = _Processes()
atexit.register(_PROCESSES.close)

"""The process that reads input files for another one: `python -m capfilt.pipelines.readers.child DESCRIPTOR`.

It serves the socket that it inherits until the other end closes. An order is a line with the descriptor of a block, in
which it stands as JSON; answers are lines of JSON: {"value": ...} any number of times, then {"end": ...}, or an error.
A table is written to the block, and its size is the value.
"""

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO, Final, cast

import pyarrow as pa

from capfilt.core.chunks import Part
from capfilt.core.config import InputSettings
from capfilt.core.processes.memory import limit_memory, peak_memory
from capfilt.pipelines.readers import READERS
from capfilt.pipelines.readers.rows.reader import InputFile, Reader
from capfilt.pipelines.readers.shards.sidecar import texts_here

_SENT_AT_ONCE: Final = 1 << 16
"""Bytes of answers that go out together: a list of a million paths is a million lines, and no million system calls."""


def serve(channel: socket.socket) -> None:
    """Work off orders until the other end closes, or memory ran out."""
    with cast(BinaryIO, channel.makefile("wb", _SENT_AT_ONCE)) as answers:
        while True:
            line, descriptors, _, _ = socket.recv_fds(channel, 64, 1)
            if not line:
                return
            with open(descriptors[0], "r+b") as block:
                is_whole = _answer(answers, block)
            answers.flush()
            if not is_whole:  # what is left of the memory is no use
                return


def _answer(answers: BinaryIO, block: BinaryIO) -> bool:
    """Do one order; False once memory has run out."""
    try:
        block.seek(0)  # the other end shares the position
        order = json.loads(block.read())
        limit_memory(order["memory"])
        for value in WORK[order["work"]](block, **order["arguments"]):
            answers.write(_line({"value": value}))
        answers.write(_line({"end": True, "peak": peak_memory()}))
    except MemoryError:
        answers.write(_line({"memory": True, "peak": peak_memory()}))
        return False
    except Exception as error:  # whatever it was, it is raised there
        told = {"error": type(error).__name__, "message": str(error), "system": isinstance(error, OSError)}
        answers.write(_line(told | {"traceback": traceback.format_exc(), "peak": peak_memory()}))
    return True


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class _Look:
    """A file, and how it is to be read."""

    reader: Reader
    file: InputFile
    settings: InputSettings

    @classmethod
    def of(cls, reader: str, file: Mapping[str, Any], settings: Mapping[str, Any]) -> "_Look":
        return cls(READERS[reader], InputFile.from_json(file), InputSettings.model_validate(settings))


def _parts(_: BinaryIO, **told: Any) -> Iterator[Any]:
    look = _Look.of(**told)
    return (asdict(part) for part in look.reader.parts(look.file, look.settings))


def _check(_: BinaryIO, **told: Any) -> Iterator[Any]:
    look = _Look.of(**told)
    look.reader.check(look.file, look.settings)
    return iter(())


def _choices(_: BinaryIO, **told: Any) -> Iterator[Any]:
    look = _Look.of(**told)
    return (asdict(choice) for choice in look.reader.choices(look.file, look.settings))


def _gives_texts(_: BinaryIO, **told: Any) -> Iterator[Any]:
    look = _Look.of(**told)
    yield look.reader.gives_texts(look.file, look.settings)


def _references(_: BinaryIO, rows: int | None, **told: Any) -> Iterator[Any]:
    look = _Look.of(**told)
    return look.reader.references(look.file, look.settings, rows)


def _read(block: BinaryIO, part: Mapping[str, Any]) -> Iterator[Any]:
    wanted = Part(**part)
    table = READERS[wanted.reader].read(wanted)
    block.seek(0)
    block.truncate()
    with pa.PythonFile(block, "w") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
        size = sink.tell()
    yield size


def _sidecar(_: BinaryIO, location: str, text: str | list[str], encoding: str) -> Iterator[Any]:
    return iter(texts_here(location, text if isinstance(text, str) else tuple(text), encoding))


WORK: Final[dict[str, Callable[..., Iterator[Any]]]] = {
    "parts": _parts,
    "read": _read,
    "check": _check,
    "choices": _choices,
    "gives_texts": _gives_texts,
    "references": _references,
    "sidecar": _sidecar,
}
"""What can be ordered."""


def main(channel: socket.socket) -> None:
    """Serve."""
    # Threads have stacks of their own, which count as memory; decoding needs no more than a few.
    pa.set_cpu_count(min(4, pa.cpu_count()))
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stderr.fileno())  # native libraries write there what files make them write
    serve(channel)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))

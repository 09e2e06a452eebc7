"""The process that decodes for another one: `python -m capfilt.pipelines.imaging.isolation.child DESCRIPTOR`.

It serves the socket it inherits until the other end is closed. An order is a line of JSON with the descriptor of a
`Shared` block; the answers are a line a row, in any order, and {"end": true}. Whatever a file does to this process,
crash it or hang it, is seen by `isolated`, which starts another one.
"""

import base64
import json
import math
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import asdict
from typing import Any

from capfilt.core.config import DecodeSettings, OutputSettings
from capfilt.core.processes.memory import limit_memory, peak_memory
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.imaging.decode_images import PIXELS_AT_ONCE, ImageFacts, Outcome, decode_images
from capfilt.pipelines.imaging.isolation.shared_memory import Shared
from capfilt.pipelines.imaging.plain_file import PlainFile, plain_files

ORDER_BYTES = 65_536  # more than an order takes: settings and sizes, and no file

PIXEL_BYTES = 24
"""That a pixel may take while it is decoded; `image_file` says what it takes as a rule."""

BESIDE = 500_000_000
"""Bytes that may be taken beside files and pixels: what codecs hold, and what `malloc` keeps."""


def serve(channel: socket.socket) -> None:
    """Work off orders until the other end closes."""
    while True:
        line, descriptors, _, _ = socket.recv_fds(channel, ORDER_BYTES, 1)
        if not line:
            return
        _work(channel, json.loads(line), descriptors[0])


def _work(channel: socket.socket, order: dict[str, Any], descriptor: int) -> None:
    settings = DecodeSettings(**order["decode"])
    limit_memory(PIXEL_BYTES * max(PIXELS_AT_ONCE, settings.max_pixels) + order["size"] + BESIDE)
    shared = Shared(descriptor, order["rows"], order["size"], [PixelSpec(**spec) for spec in order["pixels"]])
    lock = threading.Lock()
    # An alarm kills the process even where a codec holds the interpreter, should nobody be left to do it.
    fuse = math.ceil(2 * settings.timeout) + 5

    def busy(row: int, at_work: bool) -> None:
        shared.since[row] = time.monotonic() if at_work else 0.0

    def tell(row: int, outcome: Outcome | PlainFile) -> None:
        shared.since[row] = 0.0
        with lock:
            # Set anew by every file that comes to its end.
            signal.alarm(fuse)
            channel.sendall(_line({"row": row} | _told(outcome)))

    signal.alarm(fuse)
    rows, threads = [int(row) for row in shared.wanted.nonzero()[0]], order["threads"]
    if order["plain"]:
        plain_files(rows, shared.file, order["suffix"], threads, busy=busy, tell=tell)
    else:
        output = OutputSettings(**order["output"])
        decode_images(rows, shared.file, shared.canvases, settings, threads, output, busy=busy, tell=tell)
    signal.alarm(0)
    channel.sendall(_line({"end": True, "peak": peak_memory()}))


def _told(outcome: Outcome | PlainFile) -> dict[str, Any]:
    if outcome is None:
        return {"plain": None}
    if isinstance(outcome, tuple):
        return {"plain": [outcome[0], base64.b64encode(outcome[1]).decode()]}
    if isinstance(outcome, ImageFacts):
        stored = None if outcome.stored is None else base64.b64encode(outcome.stored).decode()
        return {"facts": asdict(outcome) | {"color_layout": outcome.color_layout.hex(), "stored": stored}}
    return {"bad": [outcome.reason, outcome.detail]}


def _line(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode() + b"\n"


def main(channel: socket.socket) -> None:
    """Serve; an exception of our own is told before it ends the process."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stderr.fileno())  # codecs write there what files make them write
    try:
        serve(channel)
    except Exception as error:
        channel.sendall(_line({"failed": f"{type(error).__name__}: {error}"}))
        sys.exit(1)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))

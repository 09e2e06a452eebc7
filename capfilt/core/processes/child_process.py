"""A process that works off orders for this one, and the line to it: a file may crash it, and this one goes on."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, Final

from capfilt.core.processes.memory import note_peak

Answer = dict[str, Any]

MOST_LINE: Final = 600_000_000
"""Bytes of one answer; who sends more is ended, for what it says may be a stranger's words."""


class ChildProcess:
    """`python -m MODULE DESCRIPTOR`, which serves the socket that it inherits until the other end closes.

    An order is one line with the descriptor of a block; answers are lines of JSON. One with `peak` tells the memory
    that the process has held at most.

    Args:
        kind: what `capfilt status` calls it.
        environment: all that it learns of ours, beside where packages are.
    """

    def __init__(self, module: str, kind: str, environment: Mapping[str, str]) -> None:
        self.kind = kind
        self._channel, theirs = socket.socketpair()
        # -P: without it the working directory comes first, and a file json.py in it would be taken for Python's.
        command = [sys.executable, "-P", "-m", module, str(theirs.fileno())]
        paths = os.pathsep.join(path for path in sys.path if path)  # it must find the same packages as we did
        nothing = subprocess.DEVNULL
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=nothing,
                stdout=nothing,
                env={**environment, "PYTHONPATH": paths},
                start_new_session=True,  # Ctrl-C is for us
            )
        self._rest = bytearray()
        self.last_words = ""
        self.worked = False  # whether it did an order before, for whoever keeps it

    def send(self, order: str, descriptor: int) -> None:
        """Send an order with the descriptor of its block."""
        socket.send_fds(self._channel, [order.encode()], [descriptor])

    def lines(self, seconds: float | None = None) -> list[Answer]:
        """The answers that have come, perhaps none, after so many seconds at most; without a limit at least one.

        Raises:
            EOFError: the process is gone.
        """
        self._channel.settimeout(seconds)
        while True:
            try:
                data = self._channel.recv(1 << 20)
            except TimeoutError:
                return []
            if not data:
                raise EOFError
            self._rest += data
            if len(self._rest) > MOST_LINE:
                self.kill()
                raise EOFError
            if b"\n" in data:
                return self._whole()
            if seconds is not None:
                return []

    def _whole(self) -> list[Answer]:
        whole, _, self._rest = self._rest.rpartition(b"\n")
        answers: list[Answer] = [json.loads(line) for line in whole.split(b"\n")]
        for answer in answers:
            if peak := answer.get("peak"):
                note_peak(self.kind, int(peak))
        return answers

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def died(self) -> str:
        """Wait for its end, and say how it came."""
        self._channel.close()
        try:
            # With its channel gone it ends by itself; a codec that hangs does not.
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code >= 0:
            return f"ended with code {code}{self.last_words}"
        return f"was killed by {signal.Signals(-code).name}"

    @property
    def alive(self) -> bool:
        return self._channel.fileno() >= 0 and self._process.poll() is None

    def close(self) -> None:
        """End it; it holds nothing that could be lost."""
        self._channel.close()
        self._process.kill()
        self._process.wait()

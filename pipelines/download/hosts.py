"""What is known about hosts during one call: how busy they are with us, and whether they still answer."""

import asyncio
from collections import defaultdict
from typing import Final

from yarl import URL

from capfilt.pipelines.download.failure import Failure
from capfilt.schema import Reason

SILENCE: Final = frozenset({Reason.CONNECT, Reason.TIMEOUT})  # the server did not answer at all, or not in time


class Hosts:
    """Politeness towards hosts, and giving up on servers that are dead.

    Args:
        at_once: URLs of one host in work at the same time.
        patience: tries in a row that a server may leave unanswered before its other URLs fail without one.
    """

    def __init__(self, at_once: int, patience: int) -> None:
        self._gates: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(at_once))
        self._patience = patience
        self._silent: dict[URL, tuple[int, Failure]] = {}  # by origin: another port is another server

    def gate(self, url: URL) -> asyncio.Semaphore:
        """Held while a URL of this host is in work."""
        return self._gates[str(url.raw_host)]

    def note(self, url: URL, failure: Failure | None) -> None:
        """Remember how a try at `url` ended; None stands for bytes or a redirect."""
        if failure is None or failure.reason not in SILENCE:
            self._silent.pop(url.origin(), None)
        else:
            count, _ = self._silent.get(url.origin(), (0, failure))
            self._silent[url.origin()] = count + 1, failure

    def given_up(self, url: URL) -> Failure | None:
        """The last failure of the server of `url`, once it left too many tries in a row unanswered."""
        count, failure = self._silent.get(url.origin(), (0, None))
        return failure if count >= self._patience else None

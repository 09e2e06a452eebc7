"""What is known about hosts during one call: how busy they are with us, when to ask again, and whether they answer."""

import asyncio
from collections import defaultdict

from yarl import URL

from capfilt.core.config import FetchSettings
from capfilt.core.schema import Reason, Trait
from capfilt.pipelines.download.failure import DownloadError


class Hosts:
    """Politeness towards hosts, and a circuit breaker each.

    A server that fails `give_up` tries in a row, or that asks for a longer pause than a URL may take, is not asked
    again in this call: its other URLs fail as `host_down`, which is retryable.
    """

    def __init__(self, settings: FetchSettings) -> None:
        self._gates: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(settings.per_host))
        self._interval = 1 / settings.per_host_rate if settings.per_host_rate else 0.0
        self._limit = max(settings.give_up, settings.retries + 2) if settings.give_up else 0  # more than one URL's
        self._patience = settings.timeout
        self._next: dict[str, float] = {}  # by host: when it may be asked again, in the loop's time
        self._failed: dict[URL, tuple[int, DownloadError]] = {}  # by origin: another port is another server
        self._resting: dict[URL, float] = {}  # by origin: until when it asked to be left alone

    def gate(self, url: URL) -> asyncio.Semaphore:
        """Held while a URL of this host is in work."""
        return self._gates[str(url.raw_host)]

    async def turn(self, url: URL) -> None:
        """Wait until the host may be asked again.

        Raises:
            DownloadError: `host_down`.
        """
        host = str(url.raw_host)
        now = asyncio.get_running_loop().time()
        rest = self._resting.get(url.origin(), 0.0)
        if rest - now > self._patience:
            raise DownloadError(Reason.HOST_DOWN, f"the server asked for a pause of {rest - now:.0f} s")
        turn = max(now, self._next.get(host, 0.0), rest)
        self._next[host] = turn + self._interval
        if turn > now:
            await asyncio.sleep(turn - now)
        self.check(url)

    def check(self, url: URL) -> None:
        """Raise `host_down` once the server of `url` was given up on."""
        count, last = self._failed.get(url.origin(), (0, None))
        if last is not None and self._limit and count >= self._limit:
            raise DownloadError(Reason.HOST_DOWN, f"{count} consecutive requests to this host failed, the last: {last}")

    def note(self, url: URL, failure: DownloadError | None) -> None:
        """Remember how a try at `url` ended; None stands for bytes or a redirect."""
        if failure is None or not failure.reason.has(Trait.SERVER_DOWN):
            self._failed.pop(url.origin(), None)
            return
        count, _ = self._failed.get(url.origin(), (0, failure))
        self._failed[url.origin()] = count + 1, failure
        if failure.after:
            self._resting[url.origin()] = asyncio.get_running_loop().time() + failure.after

"""Opt-outs of a site, read once before anything else is requested from it, and remembered for a day.

robots.txt as RFC 9309 has it: a site that has none, or forbids to read it (4xx), allows everything; one that cannot be
reached (5xx, 429, no answer) allows nothing for now, so its URLs fail for that reason and can be retried.
tdmrep.json: a site that does not give it does not use TDMRep.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from capfilt.core.config import FetchSettings
from capfilt.pipelines.download.optout import robots, tdmrep
from capfilt.pipelines.download.optout.headers import opted_out, refusals, robot_name
from capfilt.pipelines.download.optout.robots import Robots
from capfilt.pipelines.download.optout.tdmrep import Reservations

REMEMBERED: Final = 86_400.0
"""Seconds a site's files stay valid in this process: RFC 9309 section 2.4 allows a day."""
MOST_SITES: Final = 20_000
"""Sites that are remembered; the oldest answer goes first."""
MOST_BYTES: Final = 64_000_000
"""Of the rules of all sites that are remembered; the largest go first, for whose sake no other is asked again."""
LARGE: Final = 100_000
"""Bytes of the rules of a site from which on a URL is held against them in a thread: it may take 0.1 s."""

Read = Callable[[URL], Awaitable[str | None]]
"""Gives a file of a site as text, None where there is none.

Raises:
    SiteUnreachable: the site does not answer; its `__cause__` says why.
"""


class OptedOut(Exception):
    """The owner of a URL opts out; the message names the rule, in one line."""


class SiteUnreachable(Exception):
    """A site's own file could neither be read nor found missing."""


@dataclass(frozen=True, slots=True)
class SiteRules:
    """What the files of one site say."""

    robots: Robots
    reservations: Reservations

    @property
    def size(self) -> int:
        """About how many bytes of memory they take."""
        return self.robots.size + self.reservations.size

    def check(self, url: URL) -> None:
        """Raise `OptedOut` if they refuse `url`."""
        if rule := self.robots.refusal(url):
            raise OptedOut(f"robots.txt: {rule}")
        if pattern := self.reservations.refusal(url):
            raise OptedOut(f"TDMRep: {tdmrep.PATH} reserves {pattern}")


class SiteCache:
    """Sites that answered, by origin and by what was asked of them; shared by all calls of a process."""

    def __init__(self) -> None:
        self._sites: dict[object, tuple[float, SiteRules]] = {}
        self._bytes = 0

    def recall(self, key: object) -> SiteRules | None:
        until, site = self._sites.get(key, (0.0, None))
        return site if time.monotonic() < until else None

    def keep(self, key: object, site: SiteRules) -> None:
        self._drop(key)
        self._sites[key] = time.monotonic() + REMEMBERED, site
        self._bytes += site.size
        if len(self._sites) > MOST_SITES:
            self._drop(next(iter(self._sites)))
        while self._bytes > MOST_BYTES:
            self._drop(max(self._sites, key=lambda one: self._sites[one][1].size))

    def _drop(self, key: object) -> None:
        if found := self._sites.pop(key, None):
            self._bytes -= found[1].size

    def clear(self) -> None:
        self._sites.clear()
        self._bytes = 0


SITE_CACHE: Final = SiteCache()


class OptOutChecker:
    """Asks sites, and reads the refusals in the headers of their answers.

    Args:
        read: how to get a file of a site.
    """

    def __init__(self, read: Read, settings: FetchSettings) -> None:
        self._read = read
        self._signals = frozenset(settings.opt_out)
        self._robot = robot_name(settings.user_agent)
        self._asked: dict[URL, asyncio.Task[SiteRules | SiteUnreachable]] = {}  # at this moment
        self._away: dict[URL, SiteUnreachable] = {}
        self._few = asyncio.Semaphore(settings.concurrency)

    async def check(self, url: URL) -> None:
        """Check `url` against the files of its site.

        Raises:
            OptedOut: they refuse it.
            SiteUnreachable: they could not be read; its `__cause__` says why.
        """
        if not self._signals & {"robots.txt", "tdmrep"}:
            return
        site = await self._site(url.origin())
        if isinstance(site, SiteUnreachable):
            raise site
        await asyncio.to_thread(site.check, url) if site.size > LARGE else site.check(url)

    def check_answer(self, response: aiohttp.ClientResponse) -> None:
        """Raise `OptedOut` if the headers of an answer refuse."""
        values = response.headers.getall("X-Robots-Tag", [])
        if opted_out(values, self._robot, refusals(self._signals)):
            raise OptedOut(f"X-Robots-Tag: {', '.join(values)}")
        if "tdmrep" in self._signals and tdmrep.reserved(response.headers.getall(tdmrep.HEADER, [])):
            raise OptedOut(f"TDMRep: {tdmrep.HEADER}: 1")

    async def close(self) -> None:
        """Ask no more."""
        await _cancelled(self._asked.values())

    async def _site(self, origin: URL) -> SiteRules | SiteUnreachable:
        """What a site says. Rules are held by the cache alone, which bounds them; what it lost is asked for again."""
        known = SITE_CACHE.recall((origin, self._robot, self._signals)) or self._away.get(origin)
        if known is not None:
            return known
        if origin not in self._asked:
            task = self._asked[origin] = asyncio.create_task(self._ask(origin))
            task.add_done_callback(lambda _: self._asked.pop(origin))
        return await asyncio.shield(self._asked[origin])  # one URL's deadline must not end the question of the others

    async def _ask(self, origin: URL) -> SiteRules | SiteUnreachable:
        async with self._few:
            rules = await self._robots(origin)
            if isinstance(rules, SiteUnreachable):
                self._away[origin] = rules
                return rules
            site = SiteRules(rules, await self._reservations(origin))
        SITE_CACHE.keep((origin, self._robot, self._signals), site)
        return site

    async def _robots(self, origin: URL) -> Robots | SiteUnreachable:
        if "robots.txt" not in self._signals:
            return Robots()
        try:
            text = await self._read(origin.with_path(robots.PATH))
        except SiteUnreachable as failure:
            return failure
        return await asyncio.to_thread(Robots.parse, text or "", self._robot)  # half a megabyte takes 0.3 s

    async def _reservations(self, origin: URL) -> Reservations:
        if "tdmrep" not in self._signals:
            return Reservations()
        try:
            text = await self._read(origin.with_path(tdmrep.PATH))
        except SiteUnreachable:  # robots.txt tells of a site that is away; this file is there or it is not
            return Reservations()
        return await asyncio.to_thread(Reservations.parse, text or "")


async def _cancelled(tasks: Iterable["asyncio.Task[SiteRules | SiteUnreachable]"]) -> None:
    waiting = [task for task in tasks if not task.done()]
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)

"""One URL to its bytes, or to the reason why not: opt-outs, redirects, retries, the deadline and the byte cap."""

import asyncio
import random
from dataclasses import dataclass
from typing import Final, Self

import aiohttp
from yarl import URL

from capfilt.core.config import FetchSettings
from capfilt.core.schema import Reason, Trait
from capfilt.pipelines.download.byte_budget import Body, ByteBudget
from capfilt.pipelines.download.canonical_url import host_of
from capfilt.pipelines.download.content_encoding import BadEncoding, decoded
from capfilt.pipelines.download.failure import DownloadError, TooManyRedirects
from capfilt.pipelines.download.guard import check_url
from capfilt.pipelines.download.hosts import Hosts
from capfilt.pipelines.download.optout import robots
from capfilt.pipelines.download.optout.optout import OptedOut, OptOutChecker, SiteUnreachable
from capfilt.pipelines.download.reasons import check_status, failure_of

# Those that name one place to go to: 300 offers a choice, and 304 is for caches.
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
SITE_SHARE: Final = 0.75
"""Of `fetch.timeout`: what a site's own file may take."""
SLOW: Final = 5.0
"""Seconds over which `fetch.min_rate` is measured."""


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What is asked for."""

    seconds: float  # in all
    max_bytes: int
    body: Body
    picture: bool = True  # else a file of a site about itself: no opt-out covers it, and it is cut where it is too long


class Downloader:
    """Downloads single URLs over a shared session.

    Args:
        session: follows no redirect, keeps no cookie, and opens sockets through `AddressGuard.open_socket`.
        hosts, budget: shared by all URLs of a call.
    """

    def __init__(
        self, session: aiohttp.ClientSession, hosts: Hosts, budget: ByteBudget, settings: FetchSettings
    ) -> None:
        self._budget = budget
        self._session = session
        self._hosts = hosts
        self._settings = settings
        self._optout = OptOutChecker(self._site_file, settings)

    async def allowed(self, url: URL) -> None:
        """Wait until `url`, which `check_url` has passed, may be asked for: its site agrees, and it is its turn.

        Raises:
            DownloadError: it may not.
        """
        self._hosts.check(url)
        await self._check_opt_out(url)
        await self._hosts.turn(url)

    async def _check_opt_out(self, url: URL) -> None:
        try:
            await self._optout.check(url)
        except OptedOut as refusal:
            raise DownloadError(Reason.OPT_OUT, str(refusal)) from refusal
        except SiteUnreachable as unreachable:
            failure = unreachable.__cause__
            assert isinstance(failure, DownloadError)
            # A host that was never reached (dns, tls) fails all its URLs alike; only an answer is about robots.txt.
            raise failure.about("robots.txt") if failure.reason.has(Trait.ANSWERED) else failure from None

    async def get(self, url: URL, body: Body) -> None:
        """Fill `body` with what an allowed `url` sends, within `fetch.timeout` seconds from now.

        Raises:
            DownloadError: why there is none.
        """
        try:
            request = FetchRequest(self._settings.timeout, self._settings.max_bytes, body)
            body.redirect_hosts = await self._tried(url, request)
        # BaseException: a cancelled download must let go of its bytes too.
        except BaseException:
            self._budget.release(body)
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._optout.close()

    async def _site_file(self, url: URL) -> str | None:
        """`optout.Read`: the text of a site's file, None where the site says that there is none."""
        try:
            await self._hosts.turn(url)
            body = Body(str(url))
            await self._tried(url, FetchRequest(self._settings.timeout * SITE_SHARE, robots.LIMIT, body, picture=False))
        except TooManyRedirects:
            return None  # as RFC 9309 section 2.3.1.2 has it
        except DownloadError as failure:
            if failure.reason.has(Trait.CLIENT_ERROR):
                return None
            raise SiteUnreachable from failure
        return body.data.decode("utf-8", "replace")

    async def _tried(self, url: URL, request: FetchRequest) -> tuple[str, ...]:
        """Retry transient failures with backoff, before one deadline."""
        now = asyncio.get_running_loop().time
        deadline = now() + request.seconds
        # Without jitter, all URLs of a host that came back would ask it at the same moment.
        jitter = random.Random(str(url))  # a stream of its own: the global one belongs to others
        tries = 0
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._followed(url, request)
            except TimeoutError as error:
                raise DownloadError(Reason.TIMEOUT, f"no complete answer within {request.seconds:g} s") from error
            except DownloadError as failure:
                pause = max(failure.after, self._settings.backoff * 2**tries * jitter.uniform(0.5, 1.5))
                tries += 1
                # No pause that ends behind the deadline: the failure itself says more than "timeout".
                if not failure.retry or tries > self._settings.retries or now() + pause >= deadline:
                    raise
            await asyncio.sleep(pause)
            await self._hosts.turn(url)

    async def _followed(self, url: URL, request: FetchRequest) -> tuple[str, ...]:
        """Fills the body; the hosts that redirects led to, beside the URL's own, in order."""
        hosts = dict.fromkeys([host_of(str(url))])  # in order, none twice
        for _ in range(self._settings.max_redirects + 1):
            onward = await self._step(url, request)
            if onward is None:
                return tuple(hosts)[1:]
            url = onward
            hosts.setdefault(host_of(str(url)))
            await (self.allowed(url) if request.picture else self._hosts.turn(url))
        raise TooManyRedirects(self._settings.max_redirects)

    async def _step(self, url: URL, request: FetchRequest) -> URL | None:
        """One request, which fills the body: where it redirects to. The server's record is kept."""
        try:
            onward = await self._request(url, request)
        except asyncio.CancelledError:  # the deadline
            self._hosts.note(url, DownloadError(Reason.TIMEOUT, "no complete answer in time"))
            raise
        except DownloadError as failure:
            self._hosts.note(url, failure)
            raise
        self._hosts.note(url, None)
        return onward

    async def _request(self, url: URL, request: FetchRequest) -> URL | None:
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                if request.picture:
                    # Before the status and the redirect: an owner's refusal counts on any answer.
                    self._check_answer(response)
                if response.status in REDIRECTS and "Location" in response.headers:
                    return check_url(response.headers["Location"], self._settings.ports, base=url)
                check_status(response)
                await self._read(response, request)
                return None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise failure_of(error) from error

    def _check_answer(self, response: aiohttp.ClientResponse) -> None:
        try:
            self._optout.check_answer(response)
        except OptedOut as refusal:
            raise DownloadError(Reason.OPT_OUT, str(refusal)) from refusal

    async def _read(self, response: aiohttp.ClientResponse, request: FetchRequest) -> None:
        """The whole body, undone of its encodings, into `request.body`."""
        limit, body = request.max_bytes, request.body
        if request.picture and (response.content_length or 0) > limit:
            raise DownloadError(
                Reason.TOO_LARGE, f"Content-Length {response.content_length}, at most {limit} bytes allowed"
            )
        try:
            # A body whose length is not announced may become as large as the cap.
            body.at_end = response.content_length or limit
            await self._fill(request, response.content)
        except (aiohttp.ClientError, OSError) as error:
            came = len(body.data)
            raise DownloadError(Reason.PROTOCOL, f"the body broke off after {came} bytes", retry=True) from error
        self._within(request)
        encodings = ",".join(response.headers.getall("Content-Encoding", []))
        try:
            body.data = decoded(bytes(body.data), encodings, limit)
        except BadEncoding as error:
            raise DownloadError(Reason.PROTOCOL, str(error), retry=True) from error
        self._within(request)
        body.at_end = len(body.data)
        self._count(request)

    @staticmethod
    def _within(request: FetchRequest) -> None:
        """Refuse a picture over the cap; a site's file is cut."""
        if len(request.body.data) <= request.max_bytes:
            return
        if request.picture:
            raise DownloadError(Reason.TOO_LARGE, f"more than {request.max_bytes} bytes")
        request.body.data = request.body.data[: request.max_bytes]

    def _count(self, request: FetchRequest) -> None:
        if request.picture:
            self._budget.hold(request.body)

    async def _fill(self, request: FetchRequest, content: aiohttp.StreamReader) -> None:
        """Read until the end or just beyond the cap, as long as it comes fast enough."""
        due = round(self._settings.min_rate * SLOW)  # bytes that must come within SLOW seconds, again and again
        clock = asyncio.get_running_loop().time
        body = request.body.data = bytearray()
        try:
            async with asyncio.timeout(SLOW if due else None) as patience:
                mark = due
                async for piece in content.iter_any():
                    body += piece
                    self._count(request)
                    if len(body) > request.max_bytes:
                        return
                    if due and len(body) >= mark:
                        mark = len(body) + due
                        patience.reschedule(clock() + SLOW)
        except TimeoutError as error:  # no other clock runs while a body is read, but for the deadline's, which cancels
            rate = self._settings.min_rate
            raise DownloadError(Reason.TIMEOUT, f"slower than {rate} bytes/s, {len(body)} bytes came") from error

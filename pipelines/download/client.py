"""One URL to its bytes, or to the reason why not: redirects, retries, the deadline and the byte cap."""

import asyncio
import random
from typing import Final

import aiohttp
from yarl import URL

from capfilt.config import Fetch
from capfilt.pipelines.download.failure import Failure
from capfilt.pipelines.download.guard import check_url
from capfilt.pipelines.download.hosts import Hosts
from capfilt.pipelines.download.optout import opted_out, robot_name
from capfilt.pipelines.download.reasons import check_status, failure_of
from capfilt.schema import Reason

REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class Client:
    """Downloads single URLs over a shared session.

    Args:
        session: follows no redirect, keeps no cookie, and opens sockets through `Guard.open_socket`.
        hosts: shared by all URLs of a call.
    """

    def __init__(self, session: aiohttp.ClientSession, hosts: Hosts, settings: Fetch) -> None:
        self._session = session
        self._hosts = hosts
        self._settings = settings
        self._robot = robot_name(settings.user_agent)

    async def get(self, url: URL) -> bytes:
        """The body of `url`, which `check_url` has passed, within `settings.timeout` seconds from now.

        Raises:
            Failure: why there is none.
        """
        deadline = asyncio.get_running_loop().time() + self._settings.timeout
        jitter = random.Random(str(url))  # a stream of its own: the global one belongs to others
        tries = 0
        while True:
            try:
                return await self._follow(url, deadline)
            except Failure as failure:
                pause = max(failure.after, self._settings.backoff * 2**tries * jitter.uniform(0.5, 1.5))
                tries += 1
                late = asyncio.get_running_loop().time() + pause >= deadline
                if not failure.retry or tries > self._settings.retries or late:
                    raise
            await asyncio.sleep(pause)

    async def _follow(self, url: URL, deadline: float) -> bytes:
        for _ in range(self._settings.max_redirects + 1):
            found = await self._step(url, deadline)
            if isinstance(found, bytes):
                return found
            url = found
        raise Failure(Reason.PROTOCOL, f"more than {self._settings.max_redirects} redirects")

    async def _step(self, url: URL, deadline: float) -> bytes | URL:
        """One request: its body, or where it redirects to."""
        last = self._hosts.given_up(url)
        if last is not None:
            raise Failure(last.reason, f"given up on the host after several tries: {last.detail}")
        try:
            async with asyncio.timeout_at(deadline):
                found = await self._request(url)
        except TimeoutError as error:
            failure = Failure(Reason.TIMEOUT, f"no complete answer within {self._settings.timeout:g} s")
            self._hosts.note(url, failure)
            raise failure from error
        except Failure as failure:
            self._hosts.note(url, failure)
            raise
        self._hosts.note(url, None)
        return found

    async def _request(self, url: URL) -> bytes | URL:
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                self._check_consent(response)
                if response.status in REDIRECTS and "Location" in response.headers:
                    return check_url(response.headers["Location"], base=url)
                check_status(response)
                return await self._body(response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise failure_of(error) from error

    def _check_consent(self, response: aiohttp.ClientResponse) -> None:
        values = response.headers.getall("X-Robots-Tag", [])
        if self._settings.opt_out and opted_out(values, self._robot):
            raise Failure(Reason.OPT_OUT, f"X-Robots-Tag: {', '.join(values)}")

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        limit = self._settings.max_bytes
        if (response.content_length or 0) > limit:
            raise Failure(Reason.TOO_LARGE, f"Content-Length {response.content_length}, at most {limit} bytes allowed")
        body = bytearray()
        try:
            async for piece in response.content.iter_any():  # already decoded: a gzip bomb counts at its full size
                body += piece
                if len(body) > limit:
                    raise Failure(Reason.TOO_LARGE, f"more than {limit} bytes")
        except (aiohttp.ClientError, OSError) as error:
            raise Failure(Reason.PROTOCOL, f"the body broke off after {len(body)} bytes", retry=True) from error
        return bytes(body)

"""Names to addresses, once a host and call: failures are remembered like answers, and a dead resolver is noticed.

The system's `getaddrinfo` runs in threads. It waits for a lost packet for 5 s, and a burst of lookups is what makes a
resolver lose packets; so only a few run at once, and one without an answer is asked again soon, beside the first. After
a few lookups in a row without any answer (an unknown name IS an answer) the rest of the call fails at once: 1,500
hosts must not wait for a dead resolver 1,500 times.
"""

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

from aiohttp.abc import AbstractResolver, ResolveResult

AT_ONCE: Final = 16  # names
AGAIN: Final = 1.0  # seconds without an answer after which a name is requested again
THREADS: Final = 64  # several may wait for one name
UNANSWERED: Final = 8  # lookups in a row without an answer, after which the resolver counts as dead

Answer = list[str] | OSError


class Resolver(AbstractResolver):
    """The connector's resolver. It tells addresses, not whether they may be connected to: IP literals never come here.

    Args:
        limit: seconds one lookup may take.
    """

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._unanswered = 0
        self._few = asyncio.Semaphore(AT_ONCE)
        self._lookups: dict[str, asyncio.Task[Answer]] = {}
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="lookup")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses of `host`.

        Raises:
            OSError: it has none, or nobody answered.
        """
        if host not in self._lookups:
            self._lookups[host] = asyncio.create_task(self._look_up(host))
        answer = await asyncio.shield(self._lookups[host])  # one URL's deadline must not end the lookup of the others
        if isinstance(answer, OSError):
            raise type(answer)(*answer.args)  # a fresh one for every URL that waits
        return [_result(host, address, port) for address in answer]

    async def close(self) -> None:
        """Forget all lookups; threads that still wait for the system end by themselves."""
        for lookup in self._lookups.values():
            lookup.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _look_up(self, host: str) -> Answer:
        async with self._few:
            if self._unanswered >= UNANSWERED:
                return OSError("name lookups do not work")
            answer = await self._ask(host)
        silent = isinstance(answer, OSError) and answer.errno == socket.EAI_AGAIN
        self._unanswered = self._unanswered + 1 if silent else 0
        return answer

    async def _ask(self, host: str) -> Answer:
        loop = asyncio.get_running_loop()
        asked: set[asyncio.Future[Answer]] = set()
        try:
            async with asyncio.timeout(self._limit):
                while True:
                    asked.add(loop.run_in_executor(self._threads, _addresses, host))
                    done, _ = await asyncio.wait(asked, timeout=AGAIN, return_when=asyncio.FIRST_COMPLETED)
                    if done:
                        return done.pop().result()
        except TimeoutError:
            return socket.gaierror(socket.EAI_AGAIN, f"no answer to the name lookup in {self._limit:g} s")
        finally:
            for future in asked:
                future.cancel()


def _addresses(host: str) -> Answer:
    """One system lookup, with a second try when it says `try again`. Runs in a thread."""
    for _ in range(2):
        try:
            # AI_ADDRCONFIG: no IPv6 addresses on a machine that has no IPv6, where each would be a connection that
            # fails.
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
        except socket.gaierror as error:
            failed = error
            if error.errno != socket.EAI_AGAIN:
                break
    return failed


def _result(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)

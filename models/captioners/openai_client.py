"""A server that speaks OpenAI's chat-completions protocol (vLLM, SGLang, ...): one question, one answer.

What may heal is tried again, with growing pauses: no connection, no answer in time, 408, 429, 5xx, an answer that is
no JSON. What the server refuses for this question alone (400, 413, 415, 422, a content filter) is an answer,
`refused`. Anything else (401, 404, a redirect, ...) is a wrong setting and ends the work at once.

The key comes from an environment variable, goes into one header, and stands in no message and no file.
"""

import asyncio
import hashlib
import json
import os
import random
import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from capfilt.core.errors import ModelError
from capfilt.models.runtime import Endpoint

_HEALABLE: Final = (408, 425, 429)
_REFUSED: Final = (400, 413, 415, 422)
LONGEST_PAUSE: Final = 60.0
"""Seconds waited before another try, at most, whatever the server asks for."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    text: str
    logprob: float | None  # natural log, summed over the tokens; None where it tells none
    end: str  # its finish_reason (stop, length, ...), or `refused`


class EndpointFailed(Exception):
    """No answer after all tries; says how many, and why the last one failed."""


class _Again(Exception):
    """This try failed, another may not."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


def check_url(url: str) -> str:
    """The base address without a slash at its end, fit to stand in run.toml.

    Raises:
        ModelError: it holds credentials or a query.
    """
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        shown = f"{parts.scheme}://{parts.hostname or '...'}{parts.path}"
        raise ModelError(f"captioner {shown}: give the bare address, and a key by endpoint.key_env")
    return url.rstrip("/")


class ChatClient:
    """Asks one server. Its methods may be called from any thread without an event loop of its own."""

    def __init__(self, url: str, settings: Endpoint) -> None:
        self.url = check_url(url)
        self.settings = settings
        self._key = ""
        if settings.key_env:
            self._key = os.environ.get(settings.key_env, "").strip()
            if not self._key:
                raise ModelError(f"endpoint.key_env = {settings.key_env!r}: no such environment variable, or empty")

    def model(self) -> str:
        """The name of the model that will answer.

        Raises:
            ModelError: no server there, or it does not serve the model asked for.
        """
        try:
            listed = asyncio.run(self._models())
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"captioner {self.url}: no list of models from there ({_words(error)})") from error
        wanted = self.settings.model or (listed[0] if len(listed) == 1 else "")
        if wanted not in listed:
            known = ", ".join(listed) or "nothing"
            raise ModelError(f"captioner {self.url}: endpoint.model = {self.settings.model!r}; it serves {known}")
        return wanted

    def ask(self, bodies: list[dict[str, Any]]) -> list[Answer]:
        """The answers to chat-completions requests, in their order, `concurrency` at once.

        Raises:
            EndpointFailed: a question without an answer after all tries.
            ModelError: the server does not accept the address, the key or the model.
        """
        return asyncio.run(self._ask(bodies))

    async def _models(self) -> list[str]:
        async with self._session() as session, session.get(f"{self.url}/models", allow_redirects=False) as response:
            if response.status != 200:
                raise ModelError(f"captioner {self.url}: its list of models is answered with {response.status}")
            return [str(entry["id"]) for entry in (await response.json(content_type=None))["data"]]

    async def _ask(self, bodies: list[dict[str, Any]]) -> list[Answer]:
        room = asyncio.Semaphore(self.settings.concurrency)
        async with self._session() as session:

            async def one(body: dict[str, Any]) -> Answer:
                async with room:
                    return await self._patiently(session, body)

            return list(await asyncio.gather(*map(one, bodies)))

    async def _patiently(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> Answer:
        for attempt in range(self.settings.retries + 1):
            try:
                return await self._once(session, body)
            except (_Again, aiohttp.ClientError, TimeoutError) as error:
                reason, asked = _words(error), getattr(error, "pause", 0.0)
            if attempt < self.settings.retries:
                pause = self.settings.backoff * 2**attempt * random.uniform(0.5, 1.5)
                await asyncio.sleep(min(LONGEST_PAUSE, max(pause, asked)))
        raise EndpointFailed(f"{self.url}: {self._without_key(reason)}, {self.settings.retries + 1} times")

    async def _once(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> Answer:
        async with session.post(f"{self.url}/chat/completions", json=body, allow_redirects=False) as response:
            data, status = await response.read(), response.status
            if status in _HEALABLE or status >= 500:
                raise _Again(f"HTTP {status}", _seconds(response.headers.get("Retry-After", "")))
        if status in _REFUSED:
            return Answer("", None, "refused")
        if status != 200:
            said = self._without_key(data[:200].decode(errors="replace"))
            raise ModelError(f"captioner {self.url}: HTTP {status}: {' '.join(said.split())}")
        try:
            return _read(json.loads(data))
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise _Again(f"an answer that cannot be read ({type(error).__name__})") from error

    def _session(self) -> aiohttp.ClientSession:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = aiohttp.ClientTimeout(total=self.settings.timeout)
        return aiohttp.ClientSession(
            headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=self.settings.concurrency)
        )

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def digest_of(model: str) -> str:
    """12 hex digits for a model behind a server: of its name, for its weights cannot be seen."""
    return hashlib.sha256(model.encode()).hexdigest()[:12]


def _read(answer: Any) -> Answer:
    choice = answer["choices"][0]
    text, end = choice["message"].get("content") or "", str(choice.get("finish_reason"))
    if not isinstance(text, str):
        raise TypeError("content is no string")
    if end == "content_filter" or choice["message"].get("refusal"):
        return Answer("", None, "refused")
    tokens = (choice.get("logprobs") or {}).get("content")
    return Answer(text, sum(float(token["logprob"]) for token in tokens) if tokens else None, end)


def _seconds(retry_after: str) -> float:
    return float(retry_after) if re.fullmatch(r"\d{1,6}", retry_after) else 0.0


def _words(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return said if isinstance(error, _Again) else f"{type(error).__name__}{': ' if said else ''}{said}"

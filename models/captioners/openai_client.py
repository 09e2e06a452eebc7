"""A server that speaks OpenAI's chat-completions protocol (vLLM, SGLang, ...): one question, one answer.

Transient errors are retried with exponential backoff: no connection, no answer in time, 408, 429, 5xx, an answer
that is no JSON. What the server refuses for this question alone (400, 413, 415, 422, a content filter) is an answer,
`refused`. Anything else (401, 404, a redirect, an exhausted quota, ...) is a wrong setting and ends the work at once.

The key comes from an environment variable, goes into one header, and stands in no message and no file.
"""

import asyncio
import hashlib
import json
import os
import random
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from capfilt.core.clients.endpoint import Endpoint
from capfilt.core.clients.event_loop import run_coroutine
from capfilt.core.errors import ModelError
from capfilt.models.captioners.openai_answers import Answer, ErrorBody, pause_of, quote, read_answer

_RETRYABLE: Final = (408, 425, 429)  # too slow, too early, too many
_REFUSED: Final = (400, 413, 415, 422)  # this image or text is not taken, however often it is sent
_FINAL: Final = (b"insufficient_quota", b"billing_hard_limit", b"billing_not_active")
"""Errors by which a 429 says that no later try will be answered."""
LONGEST_ANSWER: Final = 16_000_000
"""Bytes of an answer, unpacked: 512 tokens with their probabilities take less than one."""
LONGEST_PAUSE: Final = 60.0
"""Seconds waited before another try, at most, whatever the server asks for."""


class EndpointFailed(Exception):
    """No answer after all tries; says how many, and why the last one failed."""


class _Again(Exception):
    """This try failed, another may not."""

    def __init__(self, reason: str, pause: float = 0.0, said: str = "") -> None:
        super().__init__(reason)
        self.pause = pause
        self.said = said


def check_url(url: str) -> str:
    """The base address without a slash at its end, fit to stand in run.toml.

    Raises:
        ModelError: it holds credentials or a query.
    """
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment or not parts.hostname:
        shown = f"{parts.scheme}://{parts.hostname or '...'}{parts.path}"
        raise ModelError(f"captioner {shown}: give the URL without a key; name the key's variable in endpoint.key_env")
    return url.rstrip("/")


class ChatClient:
    """Asks one server. Its methods may be called from any thread without an event loop of its own."""

    def __init__(self, url: str, settings: Endpoint) -> None:
        self.url = check_url(url)
        self.settings = settings
        self._key = ""
        self._spelling: dict[str, str] = {}
        if settings.key_env:
            # A key out of a file often ends with a line break, which no header may have.
            self._key = os.environ.get(settings.key_env, "").strip()
            if not self._key:
                raise ModelError(f"endpoint.key_env = {settings.key_env!r}: no such environment variable, or empty")

    def model(self) -> str:
        """The name of the model that will answer.

        Raises:
            ModelError: no server there, or it does not serve the model asked for.
        """
        try:
            listed = run_coroutine(self._models())
        except (_Again, aiohttp.ClientError, TimeoutError) as error:
            raise ModelError(f"captioner {self.url}: its list of models cannot be read ({_words(error)})") from error
        wanted = self.settings.model or (listed[0] if len(listed) == 1 else "")
        if not wanted and not listed:
            raise ModelError(f"captioner {self.url}: it does not list its models; set endpoint.model{self._hint()}")
        if listed and wanted not in listed:
            known = ", ".join(listed) or "nothing"
            raise ModelError(f"captioner {self.url}: endpoint.model = {self.settings.model!r}; it serves {known}")
        return wanted

    def ask(self, bodies: list[dict[str, Any]]) -> list[Answer]:
        """The answers to chat-completions requests, in their order, `concurrency` at once.

        Raises:
            EndpointFailed: a question without an answer after all tries.
            ModelError: the server does not accept the address, the key or the model.
        """
        return run_coroutine(self._ask(bodies))

    async def _models(self) -> list[str]:
        """Names that the server lists; none where a gateway has no such list.

        Raises:
            ModelError: it does not accept the key.
        """
        async with self._session() as session, session.get(f"{self.url}/models", allow_redirects=False) as response:
            data, status = await _body(response), response.status
        if status in (401, 403):
            raise ModelError(f"captioner {self.url}: HTTP {status}: {self._without_key(quote(data))}")
        try:
            body: Any = json.loads(data) if status == 200 else []
            entries: Any = body.get("data", body.get("models", ())) if isinstance(body, dict) else body
            return [entry if isinstance(entry, str) else str(entry["id"]) for entry in entries]
        # No list, or of a form that nobody knows: not needed where `endpoint.model` names the model.
        except (ValueError, KeyError, TypeError, AttributeError):
            return []

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
                reason, asked, said = _words(error), getattr(error, "pause", 0.0), getattr(error, "said", "")
            if attempt < self.settings.retries:
                pause = self.settings.backoff * 2**attempt * random.uniform(0.5, 1.5)
                await asyncio.sleep(min(LONGEST_PAUSE, max(pause, asked)))
        tries = f"{self.settings.retries + 1} times{': ' if said else ''}{said}"
        raise EndpointFailed(f"{self.url}: {self._without_key(reason)}, {tries}")

    async def _once(self, session: aiohttp.ClientSession, body: dict[str, Any]) -> Answer:
        sent = self._spelled(body)
        async with session.post(f"{self.url}/chat/completions", json=sent, allow_redirects=False) as response:
            data, status, headers = await _body(response), response.status, response.headers
        if status == 200:
            try:
                return read_answer(data)
            except ErrorBody as error:
                status = error.status or 502
            except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
                said = self._without_key(quote(data))
                raise _Again(f"an answer that cannot be read ({type(error).__name__})", said=said) from error
        said = self._without_key(quote(data))
        # Before the status: an exhausted quota comes as 429 too, and waiting for it costs all retries of every image.
        if any(word in data for word in _FINAL):
            raise ModelError(f"captioner {self.url}: HTTP {status}: {said}")
        if status in _RETRYABLE or status >= 500:
            raise _Again(f"HTTP {status}", pause_of(headers), said)
        if status in _REFUSED:
            if self._respells(sent, data):
                return await self._once(session, body)
            by_content = b"content_filter" in data or b"content_policy" in data
            return Answer("", None, "refused", "" if by_content else f"HTTP {status}: {said}")
        raise ModelError(f"captioner {self.url}: HTTP {status}: {said}{self._hint() if status == 404 else ''}")

    def _hint(self) -> str:
        """What is most often wrong with an address that does not answer as it should."""
        return "" if self.url.endswith("/v1") else " (most servers' URLs end with /v1)"

    def _spelled(self, body: dict[str, Any]) -> dict[str, Any]:
        """A request under the names that this server knows."""
        return {self._spelling.get(name, name): value for name, value in body.items()}

    def _respells(self, sent: dict[str, Any], refusal: bytes) -> bool:
        """Whether a refused request is worth another spelling, which all later ones get too."""
        # Servers know one spelling or the other and answer 400 to the wrong one; which is learned from the first
        # refusal.
        if "max_tokens" not in sent or b"max_completion_tokens" not in refusal:
            return False
        self._spelling = {"max_tokens": "max_completion_tokens"}
        return True

    def _session(self) -> aiohttp.ClientSession:
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        timeout = aiohttp.ClientTimeout(total=self.settings.timeout)
        return aiohttp.ClientSession(
            headers=headers, timeout=timeout, connector=aiohttp.TCPConnector(limit=self.settings.concurrency)
        )

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


async def _body(response: aiohttp.ClientResponse) -> bytes:
    """All bytes of an answer, unpacked.

    Raises:
        _Again: more than `LONGEST_ANSWER`.
    """
    parts, size = [], 0
    async for part in response.content.iter_chunked(1 << 16):
        parts.append(part)
        size += len(part)
        if size > LONGEST_ANSWER:
            response.close()
            raise _Again(f"an answer of more than {LONGEST_ANSWER:,} bytes")
    return b"".join(parts)


def digest_of(model: str) -> str:
    """12 hex digits for a model behind a server: of its name, for its weights cannot be seen."""
    return hashlib.sha256(model.encode()).hexdigest()[:12]


def _words(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return said if isinstance(error, _Again) else f"{type(error).__name__}{': ' if said else ''}{said}"

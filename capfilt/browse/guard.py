"""Who may ask: a page that came from this process, and nobody else on this machine or on the web.

- Every path begins with a key that is generated for each process. Another user of this machine cannot guess it, and
  a foreign page cannot send a form or a request to an address it does not know.
- The Host header must name this machine, so a foreign domain that resolves to 127.0.0.1 (DNS rebinding) gets nothing.
- What changes something must be JSON from our own origin.
- Answers may load nothing from elsewhere, stand in no frame, tell no address on and be kept by no cache.
"""

import secrets
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK: Final = frozenset({"127.0.0.1", "localhost", "::1"})  # names of this machine

BODY: Final = 64_000
"""Bytes that a request may bring."""

# The page shows texts and images of strangers: it runs nothing from elsewhere, and no other page frames or reads it.
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class RequestGuard:
    """Lets through to `app` only what carries the key and passes all tests of this module."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        refusal = _refusal(scope, self._key)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        answer = PlainTextResponse(f"{refusal[1]}\n", refusal[0]) if refusal else self._app
        await answer(scope, receive, send_guarded)


def _refusal(scope: Scope, key: str) -> tuple[int, str] | None:
    """Status and reason, or None for what may pass."""
    headers = Headers(scope=scope)
    if _host(headers) not in LOOPBACK:
        return 421, "capfilt browse answers to 127.0.0.1 and localhost only"
    given = scope["path"].lstrip("/").partition("/")[0]
    if not secrets.compare_digest(given.encode(), key.encode()):
        return 403, "open the address that `capfilt browse` printed: it holds the key of this session"
    if scope["method"] in ("GET", "HEAD"):
        return None
    # Browsers send Origin along with every POST; what sends none is a program that knows the key, and no page.
    if headers.get("Origin", f"http://{headers['Host']}") != f"http://{headers['Host']}":
        return 403, "a page of another origin may not change anything here"
    if headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        return 415, "send application/json"
    size = headers.get("Content-Length", "")
    if not size.isdecimal() or int(size) > BODY:
        return 413, f"send at most {BODY} bytes, and say how many"
    return None


def _host(headers: Headers) -> str | None:
    try:
        return urlsplit(f"//{headers.get('Host', '')}").hostname
    except ValueError:
        return None

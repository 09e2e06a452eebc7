"""Status codes and exceptions of the HTTP library as reasons, and which of them are worth a retry."""

import errno
import os
import ssl
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp

from capfilt.core.schema import Reason
from capfilt.pipelines.download.failure import DownloadError
from capfilt.pipelines.download.guard import ForbiddenAddress

OWN_REASON: Final = {403: Reason.HTTP_403, 404: Reason.HTTP_404, 429: Reason.HTTP_429}
PASSING: Final = frozenset({errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT})
"""Failed connections worth a retry. ECONNREFUSED is none of them: a port where nothing listens stays so for a while."""


def check_status(response: aiohttp.ClientResponse) -> None:
    """Raise DownloadError unless the status is 2xx. 429 and 5xx are retried, after `Retry-After` if sent."""
    status = response.status
    if 200 <= status < 300:
        return
    group = {4: Reason.HTTP_4XX, 5: Reason.HTTP_5XX}.get(status // 100, Reason.PROTOCOL)
    reason = OWN_REASON.get(status, group)
    retry = reason in (Reason.HTTP_429, Reason.HTTP_5XX)
    raise DownloadError(
        reason, f"HTTP {status}", retry=retry, after=retry_after(response.headers.get("Retry-After", ""))
    )


def retry_after(text: str) -> float:
    """Seconds from now, out of a `Retry-After` header in either of its forms; 0 when it makes no sense."""
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):  # OverflowError: a zone of twenty digits
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def failure_of(error: Exception) -> DownloadError:
    """The reason behind an exception of the HTTP client, raised before the body."""
    # The order matters: in aiohttp the later classes are parents of the earlier ones.
    match error:
        case aiohttp.ClientConnectorError():
            return _not_connected(error)
        case aiohttp.ServerTimeoutError():
            return DownloadError(Reason.TIMEOUT, "no connection in time", retry=True)
        case aiohttp.InvalidURL():
            return DownloadError(Reason.BAD_URL, "not a valid URL")
        case aiohttp.ClientConnectionError() | OSError():
            return DownloadError(Reason.CONNECT, "the server closed the connection without an answer", retry=True)
        case aiohttp.ClientResponseError():
            return DownloadError(Reason.PROTOCOL, _not_http(error))
        case _:
            return DownloadError(Reason.PROTOCOL, f"no usable answer: {type(error).__name__}")


def _not_connected(error: aiohttp.ClientConnectorError) -> DownloadError:
    cause = error.os_error
    if isinstance(cause, ForbiddenAddress):
        return DownloadError(Reason.FORBIDDEN_ADDRESS, str(cause))
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return DownloadError(Reason.DNS, cause.strerror or str(cause))
    if isinstance(error, aiohttp.ClientSSLError):
        return DownloadError(Reason.TLS, _tls_detail(cause))
    code = cause.errno or 0
    detail = os.strerror(code) if code in errno.errorcode else "no connection"
    return DownloadError(Reason.CONNECT, detail, retry=code in PASSING)


def _tls_detail(cause: OSError) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"certificate refused: {cause.verify_message}"
    reason = cause.reason if isinstance(cause, ssl.SSLError) else None
    return f"no TLS connection: {(reason or 'handshake failed').replace('_', ' ').lower()}"


def _not_http(error: aiohttp.ClientResponseError) -> str:
    """What the parser did not take, in words of our own: its message repeats the server's bytes."""
    if error.message.startswith("Got more than"):
        return "a header that is too long"
    return "too many headers" if error.message.startswith("Too many headers") else "the answer is not HTTP"

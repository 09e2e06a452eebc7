"""One spelling of a URL and of a host, so that a request to forget one of them covers all of its spellings."""

import re
import socket
from contextlib import suppress
from typing import Final
from urllib.parse import SplitResult, urlsplit

from yarl import URL

_NUMERIC: Final = re.compile(r"(?:0[xX][0-9a-fA-F]*|\d+)(?:\.(?:0[xX][0-9a-fA-F]*|\d+)){0,3}", re.ASCII)
_PORTS: Final = {"http": 80, "https": 443}


def canonical(url: str) -> str:
    """The URL that a client asks for: host in lower case and ASCII (IDNA 2008), escapes and `..` resolved.

    `HTTP://Straße.de:80/a/../%7Ejoe#x` is `http://xn--strae-oqa.de/~joe`. A text that is no URL is only stripped.
    """
    try:
        parsed = URL(url.strip())
        host = canonical_host(parsed.raw_host or "")
    except ValueError:
        return url.strip()
    if not host:
        return url.strip()
    named = parsed.with_host(host).with_fragment(None)
    spelled = str(named.with_port(None) if named.is_default_port() else named)
    return spelled if "/" in spelled.partition("://")[2] else f"{spelled}/"


def host_of(url: str) -> str:
    """The host of a URL in lower case and ASCII, without a dot at its end; "" where it has none."""
    try:
        return canonical_host(URL(url.strip()).raw_host or "")
    except ValueError:
        return ""


def canonical_host(host: str) -> str:
    """A host in lower case and ASCII, without dots at its ends.

    Raises:
        ValueError: it cannot be a host.
    """
    bare = host.strip().strip(".")
    if _NUMERIC.fullmatch(bare):
        with suppress(OSError):  # 127.1 and 0x7f000001 are 127.0.0.1, as a lookup reads them
            return socket.inet_ntoa(socket.inet_aton(bare))
    return (URL.build(scheme="http", host=bare).raw_host or "").lower() if bare else ""


def older_canonical(url: str) -> str:
    """The spelling that capfilt 0.1 wrote into forgotten.json: neither escapes nor `..` resolved, IDNA 2003."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        return url.strip()
    port = f":{parts.port}" if parts.port and parts.port != _PORTS.get(parts.scheme) else ""
    return parts._replace(netloc=parts.hostname + port, fragment="").geturl()


def older_host(url: str) -> str:
    """The host as capfilt 0.1 spelled it."""
    parts = _split(url)
    host = ((parts.hostname if parts else None) or "").strip(".").lower()
    try:
        return host.encode("idna").decode() if not host.isascii() else host
    except UnicodeError:
        return host


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url.strip())
        _ = parts.port  # raises over a port that is no number
    except ValueError:
        return None
    return parts

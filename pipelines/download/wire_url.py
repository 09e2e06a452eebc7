"""The spelling of a URL on the wire: as it is listed, since a signature covers the very bytes of path and query."""

import re
from typing import Final
from urllib.parse import quote, urljoin

from yarl import URL

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#]*", re.IGNORECASE)
_STRAY_PERCENT: Final = re.compile(r"%(?![0-9a-fA-F]{2})")
_SENT_AS_WRITTEN: Final = "!$&'()*+,;=:@/?%[]|-._~"
"""Beside letters and digits: what RFC 3986 allows, and what browsers send although it does not. Others are escaped."""


def wire_url(text: str, base: URL | None = None) -> URL:
    """The URL to send for a text out of a list or a `Location` header, without its fragment.

    The host gets its one form (lower case, international names as they are looked up), dot segments of the path are
    resolved; escapes stay as they are written, only characters that no URL may hold are escaped.

    Args:
        base: the URL that a relative text is relative to.

    Raises:
        ValueError: not a URL.
    """
    written = text.strip()
    # urllib and yarl drop line feeds and tabs in silence, and then another URL is asked for than was listed.
    if any(ord(char) < 32 or ord(char) == 127 for char in written):
        raise ValueError("control character")
    if base is not None and not _ORIGIN.match(written):
        written = urljoin(str(base), written)
    origin = _ORIGIN.match(written)
    url = URL(origin[0] if origin else written)
    if origin is None or not url.raw_host:
        return url
    path, _, query = written[origin.end() :].partition("#")[0].partition("?")
    # encoded=True: yarl's own quoting rewrites escapes, and hosts answered 403 to URLs that were signed.
    return URL.build(
        scheme=url.scheme,
        authority=url.raw_authority,
        path=_escaped(_without_dot_segments(path)),
        query_string=_escaped(query),
        encoded=True,
    )


def _escaped(text: str) -> str:
    """A `Location` holds bytes of any encoding: what is no UTF-8 goes back as the bytes it came as."""
    return quote(_STRAY_PERCENT.sub("%25", text), safe=_SENT_AS_WRITTEN, errors="surrogateescape")


def _without_dot_segments(path: str) -> str:
    """RFC 3986 section 5.2.4. Empty segments stay."""
    kept: list[str] = []
    last = ""
    for last in path.split("/")[1:]:
        if last == "..":
            kept = kept[:-1]
        elif last != ".":
            kept.append(last)
    return "/" + "/".join([*kept, ""] if last in (".", "..") else kept)

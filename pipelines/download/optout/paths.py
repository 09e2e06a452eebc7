"""Path patterns as robots.txt (RFC 9309 section 2.2.3) and tdmrep.json write them: `*` is anything, `$` the end."""

import re
from typing import Final
from urllib.parse import quote

from yarl import URL

MOST_RULES: Final = 10_000
"""Rules for us that are kept of one site. A site with more is refused as a whole: to follow only some of them might
break others."""

RULE_BYTES: Final = 150
"""Memory that a rule takes beside its pattern."""

_ESCAPE: Final = re.compile(r"%[0-9a-fA-F]{2}")
_UNRESERVED: Final = re.compile(r"[A-Za-z0-9._~-]")


def path_of(url: URL) -> str:
    """Path and query of a URL, in the form that `normal` gives patterns."""
    return normal(url.raw_path_qs)


def normal(text: str) -> str:
    """The one spelling of a path or pattern: escapes only where they are needed, and in upper case."""
    return _ESCAPE.sub(_escape, text if text.isascii() else quote(text, safe="".join(map(chr, range(128)))))


def _escape(match: re.Match[str]) -> str:
    char = chr(int(match[0][1:], 16))
    return char if _UNRESERVED.fullmatch(char) else match[0].upper()


def matches(pattern: str, path: str) -> bool:
    """Whether a pattern, a prefix unless it ends with `$`, matches. Takes linear time, whatever the pattern."""
    anchored = pattern.endswith("$")
    first, *rest = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    if not rest:
        return not anchored or len(path) == len(first)
    at = len(first)
    for part in rest[:-1]:
        if (found := path.find(part, at)) < 0:
            return False
        at = found + len(part)
    if anchored:
        return len(path) - len(rest[-1]) >= at and path.endswith(rest[-1])
    return path.find(rest[-1], at) >= 0

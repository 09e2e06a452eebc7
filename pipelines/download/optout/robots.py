"""robots.txt: which rules are for us, and what they say (RFC 9309).

Read here and not by a library, because the file is hostile input that is parsed between two packets: Protego 0.7 takes
minutes for half a megabyte of 40,000 user agents and their rules (it keeps the rules of every robot), urllib's knows no
wildcards. A test compares the verdicts with Protego's.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from yarl import URL

from capfilt.pipelines.download.optout.paths import matches, normal, path_of

PATH = "/robots.txt"
LIMIT = 512_000
"""Bytes that are read; RFC 9309 section 2.5 asks for 500 KiB at least."""

Group = tuple[list[str], list[tuple[str, str]]]
"""The robots of a group in lower case, and its rules: field (allow or disallow) and pattern."""


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules for one robot, the longest pattern first, allow before disallow: the first that matches decides."""

    rules: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str, robot: str) -> "Robots":
        """The rules of all groups that name `robot` (lower case), else of those for everybody (`*`)."""
        own: list[tuple[str, str]] = []
        everybody: list[tuple[str, str]] = []
        named = False
        for robots, rules in _groups(text):
            if robot in robots:
                named = True
                own += rules
            elif "*" in robots:
                everybody += rules
        wanted = {(field, normal(pattern)) for field, pattern in (own if named else everybody) if pattern}
        return cls(tuple(sorted(wanted, key=lambda rule: (-len(rule[1]), rule))))

    def refusal(self, url: URL) -> str:
        """The rule that forbids `url`, as in "Disallow: /private/"; empty where it may be asked for."""
        path = path_of(url)
        if path == PATH:
            return ""
        field, pattern = next((rule for rule in self.rules if matches(rule[1], path)), ("allow", ""))
        return f"Disallow: {pattern}" if field == "disallow" else ""


def _groups(text: str) -> Iterator[Group]:
    robots: list[str] = []
    rules: list[tuple[str, str]] = []
    for field, value in _fields(text):
        if field == "user-agent":
            if rules:
                yield robots, rules
                robots, rules = [], []
            robots.append(_product(value))
        elif field in ("allow", "disallow") and robots:
            rules.append((field, value))
    yield robots, rules


def _fields(text: str) -> Iterator[tuple[str, str]]:
    for line in re.split(r"[\r\n]+", text.removeprefix("\ufeff")):
        field, colon, value = line.partition("#")[0].partition(":")
        if colon:
            yield field.strip().lower(), value.strip()


def _product(value: str) -> str:
    """`CapFilt/0.1 (x)` -> `capfilt`."""
    return re.split(r"[/\s]", value, maxsplit=1)[0].lower()

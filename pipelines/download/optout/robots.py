"""robots.txt: which rules are for us, and what they say (RFC 9309).

Read here and not by a library, because the file is hostile input that is parsed between two packets: Protego 0.7 takes
minutes for half a megabyte of 40,000 user agents and their rules (it keeps the rules of every robot), urllib's knows no
wildcards. A test compares the verdicts with Protego's.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

from capfilt.pipelines.download.optout.paths import MOST_RULES, RULE_BYTES, matches, normal, path_of

PATH = "/robots.txt"
LIMIT = 512_000
"""Bytes that are read; RFC 9309 section 2.5 asks for 500 KiB at least."""

Group = tuple[list[str], list[tuple[str, str]]]
"""The robots of a group in lower case, and its rules: field (allow or disallow) and pattern."""


# A robots.txt of 512 kB took up to 0.55 s a URL on the event loop while every rule was tried; plain prefixes are looked
# up now, so only these are tried.
MOST_WILDCARDS: Final = 1_000
"""Rules with `*` or `$`, which are tried one by one."""


@dataclass(frozen=True, slots=True)
class Robots:
    """The rules for one robot. The longest pattern that matches decides, and of two equally long ones `allow`.

    Args:
        prefixes: allow or disallow by pattern, of those without `*` and `$`.
        lengths: of the prefixes, the longest first. A file of `LIMIT` bytes has a thousand different ones at most, so
            the longest prefix of a path is found in the time of reading the file once.
        wildcards: all other rules, as (field, pattern), the longest first, allow before disallow.
        refused: why nothing may be asked for at all; else empty.
        size: about how many bytes of memory the rules take.
    """

    prefixes: Mapping[str, str] = field(default_factory=dict)
    lengths: tuple[int, ...] = ()
    wildcards: tuple[tuple[str, str], ...] = ()
    refused: str = ""
    size: int = 0

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
        return cls._of({(way, normal(pattern)) for way, pattern in (own if named else everybody) if pattern})

    @classmethod
    def _of(cls, rules: set[tuple[str, str]]) -> "Robots":
        wild = [rule for rule in rules if "*" in rule[1] or rule[1].endswith("$")]
        for kind, count, most in (("", len(rules), MOST_RULES), (" with * or $", len(wild), MOST_WILDCARDS)):
            if count > most:
                return cls(refused=f"it has {count:,} rules{kind}, more than {most:,}")
        plain = sorted(rules.difference(wild), reverse=True)  # an allow comes last, and stays
        prefixes = {pattern: way for way, pattern in plain}
        lengths = tuple(sorted({*map(len, prefixes)}, reverse=True))
        size = sum(len(pattern) + RULE_BYTES for _, pattern in rules)
        return cls(prefixes, lengths, tuple(sorted(wild, key=lambda rule: (-len(rule[1]), rule))), size=size)

    def refusal(self, url: URL) -> str:
        """The rule that forbids `url`, as in "Disallow: /private/"; empty where it may be asked for."""
        path = path_of(url)
        if path == PATH:
            return ""
        if self.refused:
            return self.refused
        pattern = next((path[:end] for end in self.lengths if path[:end] in self.prefixes), "")
        way = self.prefixes.get(pattern, "allow")
        for other, wild in self.wildcards:
            if len(wild) < len(pattern) or (len(wild) == len(pattern) and way == "allow"):
                break
            if matches(wild, path):
                way, pattern = other if len(wild) > len(pattern) or other == "allow" else way, wild
                break
        return f"Disallow: {pattern}" if way == "disallow" else ""


def _groups(text: str) -> Iterator[Group]:
    robots: list[str] = []
    rules: list[tuple[str, str]] = []
    for name, value in _fields(text):
        if name == "user-agent":
            if rules:
                yield robots, rules
                robots, rules = [], []
            robots.append(_product(value))
        elif name in ("allow", "disallow") and robots:
            rules.append((name, value))
    yield robots, rules


def _fields(text: str) -> Iterator[tuple[str, str]]:
    # Not splitlines: that also splits at U+2028 and the like, which RFC 9309 does not.
    for line in re.split(r"[\r\n]+", text.removeprefix("\ufeff")):
        name, colon, value = line.partition("#")[0].partition(":")
        if colon:
            yield name.strip().lower(), value.strip()


def _product(value: str) -> str:
    """`CapFilt/0.1 (x)` -> `capfilt`."""
    return re.split(r"[/\s]", value, maxsplit=1)[0].lower()

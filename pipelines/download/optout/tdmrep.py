"""TDMRep, the reservation of text and data mining rights: /.well-known/tdmrep.json and the header `tdm-reservation`.

After the W3C community group's final report. Its "a header supersedes the file" is kept in one direction only: where
the file reserves a path nothing is asked for, so no header can free it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from yarl import URL

from capfilt.pipelines.download.optout.paths import MOST_RULES, RULE_BYTES, matches, normal, path_of

PATH = "/.well-known/tdmrep.json"
HEADER = "tdm-reservation"


@dataclass(frozen=True, slots=True)
class Reservations:
    """The rules of a site's file: pattern, and whether it reserves. The first that matches decides."""

    rules: tuple[tuple[str, bool], ...] = ()
    size: int = 0  # about how many bytes of memory they take

    @classmethod
    def parse(cls, text: str) -> "Reservations":
        """The rules of a file; a file that is no array of objects has none, and other values than 0 and 1 are unset."""
        try:
            found = json.loads(text)
        # RecursionError: deep nesting, which a hostile site may well send.
        except (ValueError, RecursionError):
            return cls()
        rules = map(_rule, found if isinstance(found, list) else ())
        kept = tuple(rule for rule in rules if rule)
        if len(kept) > MOST_RULES:  # hostile: all of it counts as reserved
            kept = (("/", True),)
        return cls(kept, sum(len(pattern) + RULE_BYTES for pattern, _ in kept))

    def refusal(self, url: URL) -> str:
        """The pattern that reserves `url`; empty where none does."""
        path = path_of(url)
        return next((pattern if reserved else "" for pattern, reserved in self.rules if matches(pattern, path)), "")


def reserved(values: Iterable[str]) -> bool:
    """Whether any value of the header reserves."""
    return any(value.strip() == "1" for value in values)


def _rule(entry: object) -> tuple[str, bool] | None:
    where, value = (entry.get("location"), entry.get(HEADER)) if isinstance(entry, dict) else (None, None)
    if isinstance(where, str) and isinstance(value, int) and value in (0, 1):
        return normal(where), value == 1
    return None

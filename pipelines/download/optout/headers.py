"""The owner's refusal in `X-Robots-Tag`, read as img2dataset reads it, and never less strictly.

A value is a list of directives (`noai, noimageai`), by itself for everybody or after the name of the one robot that it
is meant for (`capfilt: noai`). Stricter than img2dataset in one point: a colon that belongs to a directive with a value
(`noai, unavailable_after: 25 Jun 2030`) is not taken for a robot's name, which would lose the refusal.
"""

from collections.abc import Collection, Iterable
from typing import Final

REFUSALS: Final = frozenset({"noai", "noimageai", "noindex", "noimageindex"})
NOML: Final = frozenset({"noml"})
"""Of the NoML proposal, which uses the same header: findable, but not for machine learning."""
# Directives that have a colon of their own, after which comes a value and not a list for one robot.
VALUED: Final = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


def refusals(signals: Collection[str]) -> frozenset[str]:
    """The directives that refuse, of these values of `fetch.opt_out`."""
    return frozenset().union(*({"x-robots-tag": REFUSALS, "noml": NOML}.get(name, ()) for name in signals))


def opted_out(values: Iterable[str], robot: str, refused: Collection[str] = REFUSALS) -> bool:
    """Whether any `X-Robots-Tag` value refuses everybody or `robot` (lower case, no comma or colon)."""
    return any(_refuses(value, robot, refused) for value in values)


def robot_name(user_agent: str) -> str:
    """The product name that opens a User-Agent: `capfilt/0.1 (...)` -> `capfilt`."""
    product = user_agent.split("/", 1)[0].split()
    return product[0].lower() if product else ""


def _refuses(value: str, robot: str, refused: Collection[str]) -> bool:
    head, colon, rest = value.partition(":")
    name = head.strip().lower()
    addressed = bool(colon) and "," not in name and name not in VALUED
    if addressed and name != robot:
        return False
    return any(directive.strip().lower() in refused for directive in (rest if addressed else value).split(","))

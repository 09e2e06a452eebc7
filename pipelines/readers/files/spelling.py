"""Names in lists that are spelled otherwise than on this disk: from Windows, out of URLs, without their suffix."""

import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Final
from urllib.parse import unquote

Spelling = tuple[str, ...]
"""Names of `RULES`, or suffixes, in the order in which they apply."""

RULES: Final[dict[str, Callable[[str], str]]] = {
    "slashes": lambda name: re.sub(r"^[A-Za-z]:(?=/)", "", name.replace("\\", "/")),
    "percent": unquote,
    "nfc": lambda name: unicodedata.normalize("NFC", name),
    "nfd": lambda name: unicodedata.normalize("NFD", name),
    "lower": lambda name: posixpath.join(posixpath.dirname(name), posixpath.basename(name).lower()),
    "upper": lambda name: posixpath.join(posixpath.dirname(name), posixpath.basename(name).upper()),
}
"""What each does to a reference."""

_JPEG: Final = (".jpg", ".jpeg", ".jpe", ".jfif")


def spelled(reference: str, spelling: Spelling) -> str:
    """The reference as the file is called; a suffix is appended, or takes the place of one that means the same."""
    for rule in spelling:
        reference = _with_suffix(reference, rule) if rule.startswith(".") else RULES[rule](reference)
    return reference


def spellings(references: Sequence[str], suffixes: Sequence[str]) -> Iterator[Spelling]:
    """The spellings that may turn these references into names of files that end in `suffixes`, the plainest first."""
    first = [("slashes",)] if any("\\" in one for one in references) else [()]
    second: list[Spelling] = [()]
    if any("%" in one for one in references):
        second.append(("percent",))
    if not all(map(str.isascii, references)):
        second += [("nfc",), ("nfd",)]
    second += [(suffix,) for suffix in suffixes] + [("lower",), ("upper",)]
    if first != [()]:
        yield ()
    for one, other in product(first, second):
        yield one + other


def _with_suffix(name: str, suffix: str) -> str:
    from_stem, old = posixpath.splitext(name)
    means_the_same = old.lower() == suffix.lower() or {old.lower(), suffix.lower()} <= set(_JPEG)
    return from_stem + suffix if means_the_same else name + suffix

"""Text hygiene: whatever came along becomes clean, short, distinct strings."""

import re
from collections.abc import Iterable
from typing import Any, Final

MAX_TEXT: Final = 10_000
"""Characters of a text that are kept; a caption is shorter, and a whole web page helps nobody."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")  # JSON can escape them, UTF-8 cannot hold them


def clean_line(text: str) -> str:
    """Control characters become spaces, lone surrogates U+FFFD; stripped."""
    return _CONTROL.sub(" ", _SURROGATE.sub("\ufffd", text)).strip("\ufeff \t\r\n")


def clean_texts(texts: Iterable[str]) -> list[str]:
    """Clean texts of at most `MAX_TEXT` characters, empty ones and repetitions left out, in order."""
    cleaned = (clean_line(text)[:MAX_TEXT].rstrip() for text in texts)
    return list(dict.fromkeys(text for text in cleaned if text))


def texts_of(value: Any) -> list[str]:
    """The texts in a value: a string, a number, a list of these, or objects with a field `raw` or `text`."""
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, (str, bytes)):
        return [decode(value)]
    if isinstance(value, (list, tuple)):
        return [text for element in value for text in texts_of(element)]
    if isinstance(value, dict):
        return texts_of(value.get("raw", value.get("text")))
    return [str(value)]


def decode(value: str | bytes) -> str:
    """UTF-8 with replacement; a byte order mark is left out."""
    return value if isinstance(value, str) else value.decode("utf-8-sig", "replace")

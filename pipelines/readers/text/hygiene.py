"""Text hygiene, in this one place: what strangers wrote becomes clean, short, distinct strings before any stage.

What is left is harmless in a terminal and in a table. (A spreadsheet's formulas and HTML are the business of whoever
writes these: a caption may well begin with "=".)
"""

import html
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from capfilt.pipelines.readers.text.regions import Text

MAX_TEXT: Final = 10_000
"""Characters of a text that are kept; a caption is shorter, and a whole web page helps nobody."""

MAX_TEXTS: Final = 100
"""Texts of one image that are kept: each is judged, so a row with a million of them would stop a run."""

MAX_URL: Final = 8_192
"""Characters a URL may have; image data in a `data:` URL, for one, are longer."""

MISSING: Final = frozenset(
    {"#N/A", "#N/A N/A", "#NA", "-NaN", "-nan", "<NA>", "N/A", "NA", "NULL", "NaN", "NaT", "None", "n/a", "nan", "null"}
    | {"\\N", "(null)", "undefined"}
)
"""What writers of tables put where there is nothing: the words of pandas, of SQL dumps and of JavaScript."""

_MARKUP: Final = re.compile(
    r"</?(?:a|abbr|article|b|body|br|center|code|div|em|figcaption|figure|font|h[1-6]|hr|html|i|img|li|ol|p|pre|section"
    r"|small|span|strong|sub|sup|table|tbody|td|th|tr|u|ul)\b[^<>]*>",
    re.IGNORECASE,
)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Marks that turn the direction of writing around, so that a line reads otherwise than it is, and what is no character.
_REMOVED: Final = re.compile("[\u202a-\u202e\u2066-\u2069\ufeff\ufdd0-\ufdef\ufffe\uffff]")
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")  # JSON can escape them, UTF-8 cannot hold them
_UNSAFE_KEY: Final = re.compile("[\\\\\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
# `user:password@` behind `//`, or behind a mistyped scheme, or at the start of what lacks one.
_USER_INFO: Final = re.compile(r"^([^/?#]*//+|[^/?#:]*:)?[^/?#]*@")


def clean_line(text: str) -> str:
    """Control characters become spaces, lone surrogates U+FFFD, direction overrides and non-characters go; stripped."""
    return _CONTROL.sub(" ", _REMOVED.sub("", _SURROGATE.sub("\ufffd", text))).strip()


def clean_texts(texts: Iterable[Text]) -> list[Text]:
    """The first `MAX_TEXTS` clean texts of at most `MAX_TEXT` characters, without empty, missing and repeated ones.

    The same words about another region are another text.
    """
    found: dict[Text, None] = {}
    for text in texts:
        said = text if isinstance(text, str) else text.text
        # Cut before it is cleaned, because a text may be megabytes; at four times, because cleaning takes characters
        # out.
        cleaned = clean_line(said[: 4 * MAX_TEXT])[:MAX_TEXT].rstrip()
        if cleaned and not says_nothing(cleaned):
            found[cleaned if isinstance(text, str) else replace(text, text=cleaned)] = None
        if len(found) == MAX_TEXTS:
            break
    return list(found)


def says_nothing(text: str) -> bool:
    """Whether a text is a word for a missing value, or holds no letter, digit or emoji but in the tags of HTML."""
    shown = html.unescape(_MARKUP.sub(" ", text)) if "<" in text or "&" in text else text
    return shown.strip("\"' ") in MISSING or not any(map(_is_said, shown))


def _is_said(character: str) -> bool:
    # Cn: an emoji that is newer than Python's table.
    kind = unicodedata.category(character)
    return character.isalnum() or (kind in ("So", "Cn") and character != "\ufffd")


def clean_url(url: str) -> str:
    """A clean line in which a user name and password stand as `***`: a URL that has any is refused, and kept to say so.

    Query strings stay: they are part of what is asked for.
    """
    return _USER_INFO.sub(r"\1***@", clean_line(url))


def clean_key(key: str) -> str:
    r"""A key with unsafe characters as escapes (`\x1b`); keys that differ still differ."""
    return _UNSAFE_KEY.sub(lambda match: ascii(match[0])[1:-1], key)

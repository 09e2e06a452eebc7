"""Flags: what rules a text out before any policy sees it. A flag is a setting of [select] and a line here.

Only the texts are looked at, so a flag says nothing about the image. Words are what stands between blanks, so limits in
words and `repetition` mean little for writing without blanks (Chinese, Japanese, Thai). `script` is about letters, not
about languages: German passes for English. To tell languages apart in ten words is guesswork, and slower than all the
rest of a selection.
"""

from dataclasses import dataclass
from typing import Any, Final

import duckdb

from capfilt.core.config import SelectSettings
from capfilt.core.errors import ConfigError

STOCK: Final = "|".join(
    (
        r"\.(jpe?g|png|gif|webp|bmp|tiff?|svg)\s*$",
        r"^\s*(img|dsc[nf]?|pict?|image|photo|picture|screenshot|untitled|logo)?[\s_.-]*\(?\d*\)?\s*$",
        r"\b(add to (cart|basket|wishlist)|(buy|shop|order) now|free shipping|best price|(in|out of) stock|on sale)\b",
        r"\b(click (here|to|for)|read more|view (full|larger)|sign up|subscribe|newsletter|you may also like)\b",
        r"\b(all rights reserved|copyright|advertisement|stock photo)\b",
        r"\b(no image|image not available|(image|photo) coming soon|loading please wait)\b",
        r"^\s*(page \d+ of \d+|posted on .*|home about contact.*)\s*$",
    )
)
"""File names, and what shops and pages say about themselves; a text that matches anywhere is boilerplate."""

_PAIRS: Final = "list_transform(words[2:], lambda word, before: words[before] || ' ' || word)"
_SAME: Final = (
    "SELECT lower(text) FROM candidates WHERE source <> 'synthetic'"
    " GROUP BY lower(text) HAVING count(DISTINCT uid) > $max_images"
)
_LETTERS: Final = "regexp_replace(text, {}, '', 'g')"
_NO_LETTER: Final = r"'\PL'"


@dataclass(frozen=True, slots=True)
class Flag:
    """A reason to rule a text out."""

    name: str  # as in the reason of a decision, "flag: short"
    setting: str  # of `config.SelectSettings`; the flag is looked for where it has another value than its default
    sql: str  # true for such a text: of its columns text, source and words (lower case); the setting is $setting


FLAGS: Final = (
    Flag("short", "min_words", "len(words) < $min_words"),
    Flag("long", "max_words", "len(words) > $max_words"),
    Flag(
        "repetition",
        "max_repetition",
        f"len(words) > 1 AND 1 - len(list_distinct({_PAIRS})) / (len(words) - 1) > $max_repetition",
    ),
    Flag("boilerplate", "boilerplate", f"regexp_matches(text, '(?i){STOCK}')"),
    Flag("many images", "max_images", f"source <> 'synthetic' AND lower(text) IN ({_SAME})"),
    Flag("script", "scripts", rf"2 * length({_LETTERS.format('$scripts')}) < length({_LETTERS.format(_NO_LETTER)})"),
    Flag("banned", "banned", "regexp_matches(text, $banned)"),
)
"""Looked for in this order; the first one that applies is the reason."""


def active_flags(settings: SelectSettings) -> list[Flag]:
    """The flags that the settings ask for."""
    fields = SelectSettings.model_fields
    return [flag for flag in FLAGS if getattr(settings, flag.setting) != fields[flag.setting].default]


def flag_sql(settings: SelectSettings) -> str:
    """The reason to rule a text out or NULL, as an expression over candidates with `flags` and, if needed, `words`."""
    stored = "'flag: ' || list_filter(flags, lambda flag: list_contains($flags::VARCHAR[], flag))[1]"
    tests = " ".join(f"WHEN {flag.sql} THEN 'flag: {flag.name}'" for flag in active_flags(settings))
    return f"coalesce({stored}, CASE {tests} END)" if tests else stored


def flag_parameters(settings: SelectSettings) -> dict[str, Any]:
    """What the parameters of `flag_sql` are.

    Raises:
        ConfigError: a banned pattern that is no regular expression.
    """
    for pattern in settings.banned:
        _check(pattern, pattern)
        _check(pattern, f"(?:{pattern})")  # as it stands in the whole: an open \\Q would swallow what follows
    letters = "".join(rf"\p{{{script}}}" for script in settings.scripts)
    own = {
        "scripts": f"[^{letters}]",
        "banned": f"(?i){'|'.join(f'(?:{pattern})' for pattern in settings.banned)}",
    }
    return settings.model_dump(mode="json") | own


def _check(pattern: str, form: str) -> None:
    try:
        duckdb.execute("SELECT regexp_matches('', $form)", {"form": form})
    except duckdb.Error as error:
        raise ConfigError(f"select.banned = {pattern!r}: {str(error).splitlines()[0]}") from error

"""Text rules: they drop a text before any policy sees it. A rule is a setting of [select] and a line in `TEXT_RULES`.

A rule reads the text alone, never the image. Words are separated by blanks, so word limits and `repetition` mean little
for writing without blanks (Chinese, Japanese, Thai). `script` tests letters, not languages: German passes for English.
Language identification on ten words is unreliable, and slower than all the rest of a selection.
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

# SQL counts from 1: what is word n of words[2:] comes behind word n of words.
_PAIRS: Final = "list_transform(words[2:], lambda word, before: words[before] || ' ' || word)"
_SAME: Final = (
    "SELECT lower(text) FROM candidates WHERE source <> 'synthetic'"
    " GROUP BY lower(text) HAVING count(DISTINCT uid) > $max_images"
)
# Characters that are left once all of a class are out; \PL is RE2's class of all that are no letter.
_LETTERS: Final = "length(regexp_replace(text, {}, '', 'g'))"
_NO_LETTER: Final = r"'\PL'"


@dataclass(frozen=True, slots=True)
class TextRule:
    """A reason to drop a text."""

    name: str  # as in the reason of a decision, "flag: short"
    setting: str  # of `config.SelectSettings`; the rule is active where its value is not the default
    sql: str  # true for such a text: of its columns text, source and words (lower case); the setting is $setting


TEXT_RULES: Final = (
    TextRule("short", "min_words", "len(words) < $min_words"),
    TextRule("long", "max_words", "len(words) > $max_words"),
    TextRule(
        "repetition",
        "max_repetition",
        f"len(words) > 1 AND 1 - len(list_distinct({_PAIRS})) / (len(words) - 1) > $max_repetition",
    ),
    TextRule("boilerplate", "boilerplate", f"regexp_matches(text, '(?i){STOCK}')"),
    TextRule("many images", "max_images", f"source <> 'synthetic' AND lower(text) IN ({_SAME})"),
    TextRule("script", "scripts", f"2 * {_LETTERS.format('$scripts')} < {_LETTERS.format(_NO_LETTER)}"),
    TextRule("banned", "banned", "regexp_matches(text, $banned)"),
)
"""Tested in this order; the first one that applies is the reason."""


def active_rules(settings: SelectSettings) -> list[TextRule]:
    """The rules that the settings activate."""
    fields = SelectSettings.model_fields
    return [rule for rule in TEXT_RULES if getattr(settings, rule.setting) != fields[rule.setting].default]


def rules_sql(settings: SelectSettings) -> str:
    """The reason to drop a text or NULL, as an expression over candidates with `flags` and, if needed, `words`."""
    stored = "'flag: ' || list_filter(flags, lambda flag: list_contains($flags::VARCHAR[], flag))[1]"
    tests = " ".join(f"WHEN {rule.sql} THEN 'flag: {rule.name}'" for rule in active_rules(settings))
    return f"coalesce({stored}, CASE {tests} END)" if tests else stored


def rule_parameters(settings: SelectSettings) -> dict[str, Any]:
    """The parameters of `rules_sql`.

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
        # By DuckDB, which will run it: its RE2 refuses what Python's `re` takes, such as look-ahead and
        # back-references.
        with duckdb.connect() as connection:  # not the one of the module, which is the user's in a notebook
            connection.execute("SELECT regexp_matches('', $form)", {"form": form})
    except duckdb.Error as error:
        raise ConfigError(f"select.banned = {pattern!r}: {str(error).splitlines()[0]}") from error

"""The texts in a value, whatever its shape: strings, lists, objects, dialogues, and these written as a string."""

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Mapping
from typing import Any, Final

from capfilt.pipelines.readers.text.regions import Text, about, box_in

TEXT_NAMES: Final = (
    "text", "captions", "caption", "alt", "alt_text", "alttext", "alt-text", "top_caption", "raw_caption", "sentences",
    "sentence", "texts", "txt", "description", "caption_reference_description", "title", "prompt", "comment",
    "comments", "conversations", "messages", "conversation", "regions", "phrase", "caption_text", "image_caption",
    "caption_str", "photo_description", "raw",
)  # fmt: skip
"""Columns and fields that hold the text, likeliest first, in lower case."""

_FIELD_NAMES: Final = ("raw", "value", *TEXT_NAMES)
"""The same for an object that stands in the place of one text."""

_LANGUAGES: Final = frozenset(
    {"ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fil", "fr", "he", "hi", "hr", "hu"}
    | {"it", "ja", "ko", "lt", "lv", "mi", "ms", "nb", "nl", "no", "pl", "pt", "quz", "ro", "ru", "sk", "sl", "sr"}
    | {"sv", "sw", "ta", "te", "th", "tr", "uk", "ur", "vi", "zh"}
)
"""Codes of languages as keys; `id` is Indonesian, and nearly always something else."""

_ANSWERS: Final = frozenset({"gpt", "assistant", "model", "bot", "chatgpt"})
"""Speakers of a dialogue whose words describe the image; the others ask."""

_PLACEHOLDER: Final = re.compile(r"<(?:image|__dj__\w+)>|<\|__dj__\w+\|>")  # of LLaVA and Data-Juicer
_KIND: Final = re.compile(r"(?:.*_)?(?:captions?|descriptions?|texts?|sentences?)|short|long|brief|detailed|dense")
"""Keys of an object with captions of several kinds: `short`, `long_caption`."""

_DEPTH: Final = 8  # lists in lists
_MAX_WRITTEN: Final = 1_000_000  # characters of a list that is written as a string
_MAX_OBJECT: Final = 100_000  # characters of an object that Python's `str` wrote: its parser takes 100 times as much


def texts_of(value: Any, depth: int = _DEPTH) -> list[Text]:
    """The texts in a value: a string, a number, a list, an object with a usual field, a dialogue (its answers).

    Those of an object with a box are about that region.
    """
    if value is None or isinstance(value, bool) or not depth or (isinstance(value, float) and not math.isfinite(value)):
        return []
    if isinstance(value, (str, bytes)):
        text = value if isinstance(value, str) else _strictly(value)
        written = parsed_text(text)
        return [_PLACEHOLDER.sub(" ", text)] if written is None else texts_of(written, depth - 1)
    if isinstance(value, (list, tuple)):
        kept = [turn for turn in value if _speaker(turn) in _ANSWERS] if any(map(_speaker, value)) else value
        return [text for element in kept for text in texts_of(element, depth - 1)]
    if isinstance(value, Mapping):
        found, region = texts_of(_field(value), depth - 1), box_in(value)
        return found if region is None else about(found, region)
    return [str(value)]


def usual_text(names: Mapping[str, Any]) -> str | None:
    """The likeliest of the keys that are called like a text, in any case."""
    lowered = {str(name).strip().lower(): name for name in reversed(list(names))}
    return next((lowered[name] for name in TEXT_NAMES if name in lowered), None)


def parsed_text(text: str) -> Any:
    """The list or object that a string spells, as JSON or as Python's and NumPy's `str` write it; None for a text."""
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "{}", "()") or len(text) > _MAX_WRITTEN:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _object(text) if text[0] == "{" else _strings(text)
    is_list = isinstance(value, list) and all(isinstance(one, (str, dict, type(None))) for one in value)
    return value if is_list or isinstance(value, dict) else None


def _strictly(value: bytes) -> str:
    """Bytes of a table as text: no setting says in which other encoding they may be, and a guess would be a caption."""
    try:
        return value.decode().removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueError(f"a text that is not UTF-8: {value[:40]!r}") from error


def decode(value: str | bytes) -> str:
    """UTF-8 with replacement; a byte order mark is left out."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace").removeprefix("\ufeff")


def _object(text: str) -> dict[Any, Any] | None:
    """The object that Python's `str` wrote: `{'caption': 'a cat'}`."""
    try:
        value = ast.literal_eval(text) if len(text) <= _MAX_OBJECT else None
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        return None
    return value if isinstance(value, dict) else None


def _strings(text: str) -> list[str] | None:
    """The strings of `['a', "b"]`, of `('a', "b")` or, as NumPy writes it, `['a' 'b']`, which Python would join.

    One string in round brackets is a text.
    """
    strings: list[str] = []
    nothing = 0
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.STRING:
                strings.append(ast.literal_eval(token.string))
            elif token.string == "None":
                nothing += 1
            elif token.string.strip("[](), \n\r") and token.type != tokenize.ENDMARKER:
                return None
    # All that Python's own tokenizer and literals raise over the texts of strangers.
    except (tokenize.TokenError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    count = len(strings) + nothing
    return strings if count > (text[0] == "(") and all(isinstance(one, str) for one in strings) else None


def _speaker(turn: Any) -> str:
    """Who says a turn of a dialogue; empty for anything else."""
    who = turn.get("from") or turn.get("role") if isinstance(turn, Mapping) else None
    return who.lower() if isinstance(who, str) else ""


def _field(value: Mapping[str, Any]) -> Any:
    """The field of an object that is its text: one with a usual name, what a turn says, or the only sentence.

    Of texts by language (`{"en": ..., "pt-BR": ...}`), by number (`{"0": ...}`) and by kind (`{"short": ...}`) all, and
    so of lists of sentences.
    """
    if _speaker(value):
        return value.get("value", value.get("content"))
    for name in _FIELD_NAMES:
        if name in value:
            return value[name]
    languages = [str(name).lower().replace("_", "-").partition("-")[0] for name in value]
    if all(language in _LANGUAGES or language.isdigit() for language in languages):
        return list(value.values())
    kinds = [text for name, text in value.items() if _KIND.fullmatch(str(name).lower())]
    if kinds:
        return kinds
    lists = [one for one in value.values() if isinstance(one, list) and any(map(_is_sentence, one))]
    if lists:
        return lists
    sentences = list(filter(_is_sentence, value.values()))
    return sentences[0] if len(sentences) == 1 else None


def _is_sentence(value: Any) -> bool:
    return isinstance(value, str) and " " in value.strip()

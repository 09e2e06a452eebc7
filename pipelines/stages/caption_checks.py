"""Checks of a caption by rule, and the little that is tidied. A flag is a fact about a text, like a score.

Flags are stored and drop nothing here: `select.flags` names those that drop a text.

| flag | the caption |
|---|---|
| `empty` | has nothing to read |
| `empty_box` | is a text of the input whose box holds nothing of the image |
| `repetition` | says up to eight words, or one character, several times in a row |
| `same_word` | is one word, twice or more |
| `too_short` | has fewer than three words and fewer than ten letters |
| `no_letters` | has no letter of any writing |
| `unprintable` | holds control characters, or what a broken encoding leaves |
| `duplicate` | says what an earlier text of the image says, but for case and punctuation |
| `cut` | ended for lack of room (`caption.max_tokens`); the captioner tells |
| `refused` | was refused by the server (the captioner tells), or says in plain words that it is refused |
| `code` | stands in a code fence, or is a JSON object |
| `truncated` | has words that a judge has not read, for it reads the first tokens only (ITM 35, CLIP 77) |
| `thought` | came after a reasoning model's thoughts, which were cut off; empty where nothing came after |
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Final

UNUSABLE: Final = frozenset({"empty", "refused", "repetition", "same_word", "no_letters", "unprintable", "code"})
"""Flags of a caption that says nothing about its image; `run.max_refusals` counts them."""

_LONGEST_UNIT: Final = 8  # words
# A letter six times in a row, or a sign ten times; not digits, of which a number may have many alike.
_RUN: Final = re.compile(r"([^\W\d_])\1{5,}|([^\s\w])\2{9,}")
_JOINERS: Final = "\u200c\u200d"  # parts of words in Persian and Hindi, and of some emoji
# <think> is what most reasoning models write; \u25c1think\u25b7 is Kimi's, [THINK] Magistral's, <seed:think> Seed's,
# <|begin_of_thought|> OpenThinker's, <|channel|>analysis gpt-oss's, of which servers that strip special tokens leave
# "analysis ... assistantfinal".
_MIND: Final = r"(?:think|thinking|thoughts?|reason|reasoning|reflection|analysis|scratchpad|cot)"
_THOUGHT: Final = re.compile(
    rf"(?P<close><\|?\s*/\s*(?:\w+:)?{_MIND}\s*\|?>|\[/{_MIND}\]|<\|end_of_thought\|>|\u25c1/think\u25b7"
    r"|<\|channel\|>final(?:<\|message\|>)?|^analysis.*?assistant\s?final)"
    rf"|(?P<open><\|?\s*(?:\w+:)?(?:begin_of_)?{_MIND}(?:\s[^<>]{{0,40}})?\s*\|?>|^\s*\[{_MIND}\]|\u25c1think\u25b7"
    r"|<\|channel\|>(?:analysis|commentary))",
    re.IGNORECASE | re.DOTALL,
)
_MARKUP: Final = re.compile(
    r"<\|[\w ]{1,40}\|>|</?(?:s|answer|bos|eos|pad|image|final|(?:start|end)_of_turn)>|\[/?INST\]", re.IGNORECASE
)
"""Special tokens, and the tags of an answer, that a chat template or a server leaves in the text."""
# Matched at the start of a caption alone: later on "I can't help" may be what a sign in the image says. The words in
# \u are Chinese, Japanese, Korean and Russian for "sorry".
_SORRY: Final = (
    "\u62b1\u6b49|\u5bf9\u4e0d\u8d77|\u7533\u3057\u8a33|\u3059\u307f\u307e\u305b\u3093|\uc8c4\uc1a1|"
    "\u0438\u0437\u0432\u0438\u043d\u0438|\u043a \u0441\u043e\u0436\u0430\u043b\u0435\u043d\u0438\u044e|"
    "es tut mir leid|tut mir leid|leider kann ich|ich kann (?:das|dieses?|ihnen|dir)\\b.{0,40}\\bnicht|"
    "je suis d[e\u00e9]sol|d[e\u00e9]sol[e\u00e9]|je ne (?:peux|suis) pas|desculpe|sinto muito|"
    "lo siento|no puedo (?:ayud|descri|ver|identific|proces|proporcion|cumpl)|"
    "n[a\u00e3]o posso|mi dispiace|non posso"
)
_REFUSAL: Final = re.compile(
    r"(?:(?:i['\u2019]m|i am|we['\u2019]re) (?:very |really |so )?(?:sorry|unable|not able|afraid|not comfortable"
    r"|just an ai|an ai)\b"
    r"|(?:sorry|unfortunately|(?:my )?apologies|i apologi[sz]e)\b.{0,40}\b(?:i|we|there|no image)\b"
    r"|(?:i|we) (?:can(?:no|['\u2019])t|won['\u2019]t|will not|am unable to|do not|don['\u2019]t|must decline to) "
    r"(?:actually |directly |currently )?"
    r"(?:assist|help|provide|describe|see|view|process|comply|identify|generate|create|fulfill|access|have)\b"
    r"|(?:i must|i have to) decline\b"
    r"|(?:there is|there['\u2019]s|it (?:seems|looks like|appears)(?: that)?(?: there is)?) no "
    r"(?:image|picture|photo)\b"
    r"|no (?:image|picture|photo)s? (?:was|were|is|has been|have been) (?:provided|attached|uploaded|shared|given)"
    r"|(?:please|could you|can you) (?:please )?(?:provide|upload|share|attach|send)\b.{0,30}\b(?:image|picture|photo)"
    rf"|as an? (?:ai|(?:large )?(?:language|text)\b.{{0,20}}\bmodel)\b|{_SORRY})",
    re.IGNORECASE,
)
_CODE: Final = re.compile(r"```|^\s*\{.*\}\s*$", re.DOTALL)
_EDGES: Final = re.compile(r"^[\s:,.;-]+")  # between a prompt that was repeated and the caption


def tidy(text: str, prompt: str) -> str:
    """The caption in one line, without special tokens, and without the prompt if the model began by repeating it."""
    line = " ".join(_MARKUP.sub(" ", text).split())
    begun = " ".join(prompt.split())
    if begun and line.casefold().startswith(begun.casefold()):
        rest = _EDGES.sub("", line[len(begun) :])
        # Half a word is not a repeated prompt: "a pictureframe" after "a picture".
        line = rest if not line[len(begun) : len(begun) + 1].isalnum() else line
    return line


def without_thoughts(text: str) -> tuple[str, bool]:
    """The text after a reasoning model's thoughts, and whether there were any.

    A closing tag alone ends a thought that the chat template has opened; an opening one alone, a thought that was cut.
    """
    marks = list(_THOUGHT.finditer(text))
    if not marks:
        return text, False
    closed = [mark.end() for mark in marks if mark["close"]]
    start = closed[-1] if closed else 0
    opened = next((mark.start() for mark in marks if mark["open"] and mark.start() >= start), len(text))
    return text[start:opened], True


def check_caption(text: str) -> list[str]:
    """The flags of a caption that can be seen from its text alone."""
    words = text.casefold().split()
    if not any(_is_visible(character) for character in text):
        return ["empty"]
    found = {
        "repetition": _repeats(words) or bool(_RUN.search(text)),
        "same_word": len(words) > 1 and len(set(words)) == 1,
        "too_short": sum(map(_is_word, words)) < 3 and sum(map(str.isalpha, text)) < 10,
        "no_letters": not any(map(str.isalpha, text)),
        "unprintable": any(map(_is_broken, text)),
        "refused": bool(_REFUSAL.match(text.strip())),
        "code": bool(_CODE.search(text)),
    }
    return [name for name, applies in found.items() if applies]


def same_text_key(text: str) -> str:
    """Equal for two texts that differ in case, punctuation and blanks alone."""
    # A text of signs alone is compared as it stands, or all of those would be one text.
    return " ".join(re.findall(r"\w+", text.casefold())) or text


def _repeats(words: Sequence[str]) -> bool:
    """Three times in a row the same one to eight words."""
    return any(
        words[start : start + width] == words[start + width : start + 2 * width] == words[start + 2 * width : end]
        for width in range(1, _LONGEST_UNIT + 1)
        for start, end in zip(range(len(words)), range(3 * width, len(words) + 1), strict=False)
    )


def _is_word(word: str) -> bool:
    return any(map(str.isalnum, word))


def _is_visible(character: str) -> bool:
    return unicodedata.category(character)[0] not in "CZ"


def _is_broken(character: str) -> bool:
    return character == "\ufffd" or (unicodedata.category(character)[0] == "C" and character not in _JOINERS)

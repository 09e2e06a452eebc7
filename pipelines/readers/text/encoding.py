"""Which encoding bytes are in: UTF-8 if they can be, UTF-16 or -32 by their mark, else what fits and nothing else does.

A wrong guess gives wrong letters without a word, so a guess counts only if no other likely encoding reads the same
bytes otherwise; where several do, the file is refused and the error names `input.encoding`.
"""

import codecs
import io
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

import charset_normalizer

from capfilt.core.errors import ConfigError

UTF8: Final = "utf-8"

# UTF-32 before UTF-16: the mark of UTF-32-LE begins with that of UTF-16-LE.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

LIKELY: Final[tuple[str, ...]] = (
    "cp1252", "gb18030", "big5", "cp932", "euc_jp", "cp949", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256",
    "cp1257", "koi8_r",
)  # fmt: skip
"""Encodings that lists of captions are found in; any other can be named."""

_ALPHABETS: Final = {
    "cp1252": (
        "àâæçèéêëîïôœùûüÿ",
        "äöüßé",
        "áéíñóúü",
        "áâãàçéêíóôõúü",
        "àèéìíîòóù",
        "åäöéæøà",
        "éëïóöüèêá",
        "ðþáéíóúýæö",
    ),
    "cp1250": ("ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áéíóöőúüű", "ăâîşţ", "čćđšž", "áäčďéíĺľňóôŕšťúýž"),
    "cp1254": ("çğıöşüiâîû",),  # noqa: RUF001 the dotless i is meant
    "cp1257": ("āčēģīķļņšūž", "ąčęėįšųūž", "äõöüšž"),
}
"""Letters beyond ASCII of the languages that are written in an encoding."""

_COMMON: Final = {
    "cp1251": "оеаинтсрвлкмдпуія",
    "koi8_r": "оеаинтсрвлкмдпуія",
    "cp1253": "αοιετσνηυρπκμλςωόίάέή",
    "cp1255": "יוהלאמרתבשנכם",
    "cp1256": "اليمنروتبةعدسفهكقحج",
}
"""The letters that make up most of a text in other scripts."""

_LEADS: Final = {"gb18030": (0xB0, 0xD7), "big5": (0xA4, 0xC6), "cp949": (0xB0, 0xC8), "euc_jp": (0xB0, 0xCF)}
"""First bytes of the characters that are in everyday use, by the standards' own order."""

_SAMPLE: Final = 16_384  # bytes
_BLOCK: Final = 1 << 20
_MESS: Final = 0.2
"""A reading whose mess (a share, by charset-normalizer) is larger than the smallest by more than this is none."""

_FIT: Final = 0.6
_LEAD: Final = 0.1
"""What a reading must reach of `_fit`, and by how much it must be ahead of the next one that reads otherwise."""

_BENT: Final = re.compile(
    r"[a-zß-öø-ÿа-яα-ω][A-ZÀ-ÖØ-ÞŒŠŽŸА-ЯΑ-Ω]|[^\W\d_][¡-©«-´¶-¹»-¿†‡‰][^\W\d_]"  # noqa: RUF001 all scripts are meant
    r"|¤|[a-zA-ZÀ-ɏ][Ͱ-ϿЀ-ӿ֐-ۿ]|[Ͱ-ϿЀ-ӿ֐-ۿ][a-zA-ZÀ-ɏ]"
)
"""What no word has: a capital behind a small letter, a sign between letters, letters of two scripts."""


class UnnamedEncoding(ConfigError):
    """`input.encoding` must name what cannot be told of a file; its texts must not be left out without a word."""


class UnknownEncoding(ValueError):
    """Several encodings fit, or none."""


def encoding_of(blocks: Iterable[bytes]) -> str:
    """The encoding of a file, which comes in blocks of whole lines; empty where all of it is UTF-8.

    `utf-8` says that most of it is, and that some lines are damaged.

    Raises:
        UnknownEncoding: it is not UTF-8, and what it is cannot be told.
    """
    odd, odd_lines, good_lines, mark = bytearray(), 0, 0, ""
    for number, block in enumerate(blocks):
        mark = mark if number else _marked(block)
        if mark not in ("", "utf-8-sig"):
            return mark
        if block.isascii():
            continue
        for line in block.splitlines():
            if line.isascii():
                continue
            if _certain(line) is not None:
                good_lines += 1
                continue
            odd_lines += 1
            # To guess by a few lines is enough; how many there are is counted to the end.
            if len(odd) < _SAMPLE:
                odd += line + b"\n"
    if not odd_lines:
        return ""
    return UTF8 if mark or good_lines > odd_lines else _guess(bytes(odd))


def decoded_texts(contents: list[bytes], encoding: str) -> list[str | None]:
    """The text of each small file; with `auto`, those that are not UTF-8 are looked at together.

    None for one whose encoding cannot be told.
    """
    if encoding != "auto":
        return [content.decode(encoding, "replace").removeprefix("\ufeff") for content in contents]
    texts = [_certain(content) for content in contents]
    odd = [content for content, text in zip(contents, texts, strict=True) if text is None]
    if not odd:
        return list(texts)
    try:
        guess = _guess(b"\n".join(odd)[:_SAMPLE])
        return [content.decode(guess) if text is None else text for content, text in zip(contents, texts, strict=True)]
    except ValueError:
        return list(texts)


def known_encoding(name: str) -> bool:
    """Whether Python can read it as text."""
    try:
        # Python calls hex, zip and rot13 codecs too; only this attribute tells them from encodings.
        return name == "auto" or codecs.lookup(name)._is_text_encoding
    except LookupError:
        return False


def blocks_of(stream: io.BufferedIOBase) -> Iterable[bytes]:
    """A stream in blocks that end with a line, so that a sample of lines is one of whole lines."""
    while block := stream.read(_BLOCK):
        yield block + stream.readline(_BLOCK)


def _certain(content: bytes) -> str | None:
    try:
        return content.decode(_marked(content) or UTF8)
    except UnicodeDecodeError:
        return None


def _marked(head: bytes) -> str:
    """What a byte order mark says, or the zeros of UTF-16 without one."""
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    sample = head[:1000]
    # Text that is mostly ASCII: in UTF-16 nearly every second byte is 0, and all on one side.
    if len(sample) >= 4 and sample[1::2].count(0) > len(sample) * 0.4 and not sample[::2].count(0):
        return "utf-16-le"
    if len(sample) >= 4 and sample[::2].count(0) > len(sample) * 0.4 and not sample[1::2].count(0):
        return "utf-16-be"
    return ""


@lru_cache(maxsize=64)
def _guess(sample: bytes) -> str:
    found = list(charset_normalizer.from_bytes(sample, cp_isolation=list(LIKELY), threshold=0.5))
    least = min((match.chaos for match in found), default=0)
    mess = {name: one.chaos for one in found for name in one.could_be_from_charset if one.chaos <= least + _MESS}
    readings = {name: sample.decode(name) for name in LIKELY if name in mess}
    fits = {name: _fit(text, name) - mess[name] + least for name, text in readings.items()}
    best = max(fits, key=lambda name: fits[name], default="")
    if not best or fits[best] < _FIT:
        raise UnknownEncoding("it is not UTF-8, and its encoding is none of the usual ones; give input.encoding")
    rivals = [name for name in fits if fits[name] > fits[best] - _LEAD and readings[name] != readings[best]]
    if rivals:
        raise UnknownEncoding(f"its encoding may be {' or '.join(sorted({best, *rivals}))}; give input.encoding")
    return best


def _fit(text: str, encoding: str) -> float:
    """How far a reading looks like a language that is written in the encoding, from 0 to 1."""
    if _BENT.search(text):
        return 0.0
    if encoding in _ALPHABETS:
        return _spelled(text, _ALPHABETS[encoding])
    letters = [letter for letter in text.lower() if letter > "\x7f" and letter.isalpha()]
    if encoding in _COMMON:
        good = sum(letter in _COMMON[encoding] for letter in letters)
    else:
        good = _everyday(letters, encoding)
    return good / max(len(letters), 1)


def _everyday(letters: list[str], encoding: str) -> int:
    """How many characters of East Asia are in everyday use; kana tell Japanese from the rest."""
    kana = sum("\u3040" <= letter <= "\u30ff" for letter in letters)
    is_japanese = encoding in ("cp932", "euc_jp")
    if is_japanese != (kana > len(letters) / 10):
        return 0
    low, high = _LEADS["euc_jp" if is_japanese else encoding]
    codec = "euc_jp" if is_japanese else encoding
    coded = (letter.encode(codec, "ignore") for letter in letters if not "\u3040" <= letter <= "\u30ff")
    return kana + sum(len(pair) == 2 and low <= pair[0] <= high for pair in coded)


def _spelled(text: str, alphabets: tuple[str, ...]) -> float:
    """The share of lines whose letters beyond ASCII all belong to one of the alphabets."""
    lines = [{letter for letter in line.lower() if letter > "\x7f" and letter.isalpha()} for line in text.split("\n")]
    spoken = [letters for letters in lines if letters]
    return sum(any(letters <= set(one) for one in alphabets) for letters in spoken) / max(len(spoken), 1)

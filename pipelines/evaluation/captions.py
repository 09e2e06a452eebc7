"""Captions against what people wrote: BLEU-4 and CIDEr-D, and how much the words of captions vary.

Words are lower-cased runs of letters and digits, a hyphen or apostrophe within; a Chinese character is
a word. COCO's own evaluation splits by the Penn Treebank's rules (in Java) and drops punctuation; on plain captions the
two differ in contractions alone.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

NGRAM: Final = 4  # words of the longest runs that both measures count
SIGMA: Final = 6.0
"""CIDEr-D: standard deviation of the penalty on a difference in length, in word pairs."""

_ALONE: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0e7f"
"""Chinese, Japanese and Thai put no space between words: there each character counts as one."""
_WORD: Final = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+(?:['-][^\W{_ALONE}]+)*")

Words = list[str]
Grams = Counter[tuple[str, ...]]


def words(text: str) -> Words:
    """The words of a text."""
    return _WORD.findall(text.lower())


def bleu(written: Sequence[str], references: Sequence[Sequence[str]], most: int = NGRAM) -> float:
    """Corpus BLEU up to n-grams of `most` words (Papineni et al. 2002), with the closest reference's length.

    Args:
        written: one caption an image.
        references: what people wrote of the same image, one or more.
    """
    right, all_, length, wanted = [0] * most, [0] * most, 0, 0
    for text, own in zip(written, references, strict=True):
        said, told = words(text), [words(reference) for reference in own]
        length += len(said)
        # Of two references that are as close the shorter one, as in COCO's evaluation.
        wanted += min((abs(len(reference) - len(said)), len(reference)) for reference in told)[1]
        for n in range(1, most + 1):
            grams = _grams(said, n)
            known: Grams = Counter()
            for reference in told:
                known |= _grams(reference, n)
            right[n - 1] += (grams & known).total()
            all_[n - 1] += grams.total()
    if not all(right):
        return 0.0
    mean = sum(math.log(a / b) for a, b in zip(right, all_, strict=True)) / most
    return math.exp(mean + min(0.0, 1 - wanted / length))


def cider(written: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """CIDEr-D, the mean over images (Vedantam et al. 2015, section 5 and 6.4), times 10 as in COCO's tables.

    N-grams that are in the references of many of these images count little; so it says nothing of one image alone.
    """
    values = cider_by_image(written, references)
    return sum(values) / len(values) if values else 0.0


def cider_by_image(written: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
    """The summands of `cider`."""
    told = [[_vector(words(reference)) for reference in own] for own in references]
    frequency: Counter[tuple[str, ...]] = Counter()
    for own in told:
        frequency.update({gram for vector in own for gram in vector})
    rarity = {gram: math.log(len(told) / count) for gram, count in frequency.items()}
    unknown = math.log(len(told)) if told else 0.0
    found = []
    for text, own in zip(written, told, strict=True):
        said = _vector(words(text))
        found.append(10 * sum(_alike(said, reference, rarity, unknown) for reference in own) / len(own))
    return found


def diversity(texts: Sequence[str]) -> dict[str, float]:
    """How much words vary: distinct 1- and 2-grams as a share of all (Li et al. 2016), and how many words there are."""
    said = [words(text) for text in texts]
    found: dict[str, float] = {}
    for n in (1, 2):
        counts: Grams = Counter()
        for one in said:
            counts.update(_grams(one, n))
        found[f"distinct_{n}"] = len(counts) / max(1, counts.total())
    vocabulary = {word for one in said for word in one}
    length = sum(map(len, said)) / max(1, len(said))
    return {**found, "vocabulary": len(vocabulary), "words": length, "different": len(set(texts)) / max(1, len(texts))}


def _grams(said: Words, n: int) -> Grams:
    return Counter(tuple(said[start : start + n]) for start in range(len(said) - n + 1))


def _vector(said: Words) -> Grams:
    """Counts of all n-grams up to `NGRAM`."""
    total: Grams = Counter()
    for n in range(1, NGRAM + 1):
        total.update(_grams(said, n))
    return total


def _alike(said: Grams, told: Grams, rarity: Mapping[tuple[str, ...], float], unknown: float) -> float:
    """The mean over n of clipped cosines of tf-idf, less what a difference in length costs."""

    def weights(counts: Grams, n: int) -> dict[tuple[str, ...], float]:
        return {gram: count * rarity.get(gram, unknown) for gram, count in counts.items() if len(gram) == n}

    total = 0.0
    for n in range(1, NGRAM + 1):
        mine, theirs = weights(said, n), weights(told, n)
        norm = math.hypot(*mine.values()) * math.hypot(*theirs.values())
        if norm:
            total += sum(min(mine[gram], theirs[gram]) * theirs[gram] for gram in mine.keys() & theirs.keys()) / norm
    pairs = [sum(count for gram, count in counts.items() if len(gram) == 2) for counts in (said, told)]
    return total / NGRAM * math.exp(-((pairs[0] - pairs[1]) ** 2) / (2 * SIGMA**2))

"""A judge that scores a long text sentence by sentence too: a judge's own score rests on the words that it has read."""

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from torch import Tensor

from capfilt.models.pixels import Box
from capfilt.models.protocols import Judge, RegionJudge, TruncatingJudge
from capfilt.models.score_columns import with_sentences

MOST: Final = 32
"""Sentences of a text that are scored; a text of more counts as cut."""

_CLOSING: Final = "\"'”\u2019»)\\]」』\uff09"
_OPENING: Final = "\"'“\u2018«(["
_END: Final = re.compile(rf"[.!?…]+[{_CLOSING}]*\s+|[。\uff01\uff1f।]+[{_CLOSING}]*\s*|\s*\n\s*")
_ABBREVIATION: Final = re.compile(r"(\b[^\W\d_]|\b(mr|mrs|ms|dr|st|no|vs|e\.g|i\.e|approx|fig))\.\s+$", re.IGNORECASE)
"""What ends with a full stop and no sentence: a single letter ("J. Smith"), and some short forms."""


def sentences(text: str) -> list[str]:
    """The sentences of a text; what has no letter or digit is none.

    A full stop ends one where a space follows and then no small letter, so that "3.5 m" and "etc. and" are not parted.
    """
    found, start = [], 0
    for mark in _END.finditer(text):
        rest = text[mark.end() :].lstrip(_OPENING)
        if "\n" in mark[0] or not (rest[:1].islower() or _ABBREVIATION.search(text[start : mark.end()])):
            found.append(text[start : mark.end()].strip())
            start = mark.end()
    return [part for part in (*found, text[start:].strip()) if re.search(r"\w", part)]


class BySentence:
    """`judge` with two more columns for each of its own: the lowest and the mean score of a text's sentences.

    A text of one sentence has its own score in both.
    """

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.name = judge.name
        self.digest = judge.digest
        self.pixels = judge.pixels
        self.columns = with_sentences(judge.columns)

    def cuts(self, text: str) -> bool:
        """Whether the judge leaves words of a text unread in its own score, or there are more than `MOST` sentences."""
        own = isinstance(self.judge, TruncatingJudge) and self.judge.cuts(text)
        return own or len(sentences(text)) > MOST

    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        """The judge's scores, and those of the sentences."""
        parts = _parts(texts)
        return self._folded(self.judge.score(images, _flat(parts)), parts)

    def _folded(self, scores: dict[str, list[list[float]]], parts: "_Parts") -> dict[str, list[list[float]]]:
        folded: dict[str, list[list[float]]] = {column: [] for column in self.columns}
        for column in self.judge.columns:
            for row, own in zip(scores[column], parts, strict=True):
                values = iter(row)
                by_text = [[next(values) for _ in part] for part in own]
                folded[column].append([found[0] for found in by_text])
                # Of numpy: a NaN among them gives NaN, wherever it stands.
                folded[f"{column}_min"].append([float(np.min(found[1:] or found)) for found in by_text])
                folded[f"{column}_mean"].append([float(np.mean(found[1:] or found)) for found in by_text])
        return folded


class RegionsBySentence(BySentence):
    """The same of a judge that looks at regions: a sentence is about the region of its text."""

    def score_regions(
        self, images: Tensor, texts: list[list[str]], boxes: list[list[Box | None]]
    ) -> dict[str, list[list[float]]]:
        """The judge's scores, and those of the sentences."""
        assert isinstance(self.judge, RegionJudge)  # as `by_sentence` has asked; for the type
        parts = _parts(texts)
        spread = [
            [box for box, part in zip(row, own, strict=True) for _ in part]
            for row, own in zip(boxes, parts, strict=True)
        ]
        return self._folded(self.judge.score_regions(images, _flat(parts), spread), parts)


def by_sentence(judge: Judge) -> BySentence:
    """`judge` with columns for sentences."""
    return (RegionsBySentence if isinstance(judge, RegionJudge) else BySentence)(judge)


_Parts = list[list[list[str]]]
"""Of each text of each image: the text itself, and its sentences where it has several."""


def _parts(texts: Sequence[Sequence[str]]) -> _Parts:
    return [[[text, *(own[:MOST] if len(own := sentences(text)) > 1 else ())] for text in row] for row in texts]


def _flat(parts: _Parts) -> list[list[str]]:
    return [[one for part in own for one in part] for own in parts]

"""Answers to questions against those of people: the accuracy of the VQA challenge.

Source: Antol et al. 2015, and the challenge's evaluation code: an answer is right to min(1, others who gave it / 3),
averaged over the people asked, each left out once. Both sides are normalized first: marks, number words, articles,
contractions without their apostrophe.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.training_data.pairs import Wanted, load_pairs

AT_ONCE: Final = 32
"""Questions that are answered together."""

Kind = Literal["yes/no", "number", "other"]

MARKS: Final = re.escape(';/[]"{}()=+\\_-><@`,?!')
"""Marks that do not count in an answer. A colon does, and a point within a number."""

_NUMBERS: Final = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_ARTICLES: Final = frozenset({"a", "an", "the"})
_CONTRACTIONS: Final = {
    word.replace("'", ""): word
    for word in (
        "ain't aren't can't couldn't could've didn't doesn't don't hadn't hasn't haven't he'd he's how'd how'll how's "
        "I'm I've isn't it'd it'll let's mightn't might've mustn't must've needn't o'clock oughtn't shan't shouldn't "
        "should've somebody'll someone'll someone's something'll that'd that's there'd there're there's they'd they'll "
        "they're they've 'twas wasn't we've weren't what'll what're what's what've when's where'd where's where've "
        "who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll you're you've"
    )
    .lower()
    .split()
}


@dataclass(frozen=True, slots=True)
class VqaAccuracy:
    """How right a model answers, in 0..1."""

    questions: int
    accuracy: float
    by_kind: dict[Kind, float]  # of the questions whose most frequent answer is of the kind


def evaluate_vqa(locations: Sequence[str], model: Path, limit: int | None = None) -> VqaAccuracy:
    """Answer the questions of Parquet files or folders with a checkpoint of `capfilt train vqa`.

    Args:
        limit: only the questions of so many images.

    Raises:
        InputError: no data, or no column of questions.
        ModelError: no such checkpoint.
    """
    import torch

    from capfilt.models.formats.vqa import load_vqa

    answerer = load_vqa(model)
    spec = PixelSpec(answerer.model.config.image_size)
    # memory=0: every image is looked at once, so none is kept.
    pairs = load_pairs(locations, Wanted(column="questions", pixels=spec, memory=0))
    starts = pairs.texts.starts[: None if limit is None else limit + 1]
    owner = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    asked = pairs.words.slice(0, len(owner)).to_pylist()
    found: dict[Kind, list[float]] = defaultdict(list)
    for first in range(0, len(asked), AT_ONCE):
        some = asked[first : first + AT_ONCE]
        images = torch.from_numpy(pairs.pixels(owner[first : first + AT_ONCE]))
        for question, said in zip(some, answerer.generate(images, [one["question"] for one in some]), strict=True):
            found[_kind(question["answers"])].append(vqa_accuracy(said, question["answers"]))
    everything = [value for values in found.values() for value in values]
    by_kind: dict[Kind, float] = {kind: float(np.mean(values)) for kind, values in sorted(found.items())}
    return VqaAccuracy(len(everything), float(np.mean(everything)), by_kind)


def _kind(answers: Sequence[str]) -> Kind:
    (common, _), *_ = Counter(map(normalize_answer, answers)).most_common(1)
    return "yes/no" if common in ("yes", "no") else "number" if common.isdigit() else "other"


def normalize_answer(text: str) -> str:
    """An answer as the challenge compares it."""
    text = " ".join(text.lower().split())
    # A mark beside a space, or a comma within a number, goes; any other one parts two words.
    if re.search(r"\d,\d", text):
        text = re.sub(f"[{MARKS}]", "", text)
    text = re.sub(f"(?<= )[{MARKS}]|[{MARKS}](?= )", "", text)
    text = re.sub(r"\.(?!\d)", "", re.sub(f"[{MARKS}]", " ", text))
    words = [_NUMBERS.get(word, word) for word in text.split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def vqa_accuracy(given: str, answers: Sequence[str]) -> float:
    """How right an answer is, in 0..1, by the answers of people; of one person it is right or not."""
    said, people = normalize_answer(given), [normalize_answer(answer) for answer in answers]
    if len(people) == 1:
        return float(people[0] == said)
    hits = people.count(said)
    return sum(min(1.0, (hits - (other == said)) / 3) for other in people) / len(people)

"""BLEU, CIDEr and diversity against figures of COCO's own code, and against counting by hand."""

import math

import pytest

from capfilt.pipelines.evaluation.captions import bleu, cider, diversity, words

REFERENCES = [
    ["a dog runs on the beach", "a brown dog is running along a sandy beach", "the dog plays with a ball"],
    ["two people ride a red bus", "a red bus full of people", "people are sitting in a bus on the street"],
    ["a cat sleeps on a sofa", "a small grey cat is asleep on the couch"],
    ["a man with a hat holds a fish", "an old man shows a big fish that he caught"],
]
WRITTEN = [
    "a dog is running on the beach",
    "a red bus on the street",
    "a cat is asleep on a couch on a sofa",
    "a dog holds a ball",
]


def test_the_figures_of_coco_s_own_code() -> None:
    """What the classes Bleu and Cider of pycocoevalcap 1.2 give for these captions."""
    expected = [0.8270708094029551, 0.7518564465140608, 0.6020137951183763, 0.4027677661814021]
    assert [bleu(WRITTEN, REFERENCES, n) for n in (1, 2, 3, 4)] == pytest.approx(expected, abs=1e-9)
    assert cider(WRITTEN, REFERENCES) == pytest.approx(2.20723526535478, abs=1e-12)


def test_the_best_and_the_worst() -> None:
    same = [own[0] for own in REFERENCES]
    assert bleu(same, [[text] for text in same]) == 1
    assert cider(same, [[text] for text in same]) == pytest.approx(10)
    assert bleu(["nothing of it"], [["a dog"]]) == 0
    assert cider(["nothing of it", "at all"], [["a dog"], ["a cat"]]) == 0
    assert bleu(["", "a dog runs on the beach"], [["a cat"], ["a dog runs on the beach"]]) == pytest.approx(
        math.exp(1 - 8 / 6)
    )


def test_case_and_marks_say_nothing() -> None:
    assert words("A well-known Dog's ball, twice!  ") == ["a", "well-known", "dog's", "ball", "twice"]
    assert bleu(["A dog runs on the beach."], [["a dog runs on the beach"]]) == 1


def test_diversity_is_what_is_counted() -> None:
    told = diversity(["a red dog", "a red cat", "a red cat"])
    assert told["distinct_1"] == pytest.approx(4 / 9)
    assert told["distinct_2"] == pytest.approx(3 / 6)
    assert (told["vocabulary"], told["words"]) == (4, 3)
    assert told["different"] == pytest.approx(2 / 3)
    assert diversity([])["vocabulary"] == 0

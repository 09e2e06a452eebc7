"""ScoredPairs made of a run's own texts."""

from collections import defaultdict
from dataclasses import replace

import pytest
import torch
from PIL import Image

from calibration_world import World
from capfilt.core.config import DecodeSettings
from capfilt.ledger.ledger import Ledger
from capfilt.models.pixels import Box, PixelSpec
from capfilt.pipelines.calibration.mismatch import Candidate, mismatches, own_texts
from capfilt.pipelines.calibration.rescore import Said, score_texts
from pictures import encoded


def text(uid: str, words: str, phash: int, source: str = "web", candidate: int = 0) -> Candidate:
    return Candidate(uid, candidate, source, words, phash, {})


ZOO = [
    text("a", "a brown dog runs on the beach", 1),
    text("b", "a brown dog runs on the grass", 2),
    text("c", "quarterly report of the board", 3),
    text("d", "A BROWN DOG  runs on the beach", 4),  # the words of a
    text("e", "two brown dogs run on a beach", 1),  # looks like a
    text("a", "une phrase en francais", 1, "synthetic", 1),
]


def test_hard_mismatches_are_the_nearest_texts_that_may_be_used() -> None:
    found = {m.uid: m.text for m in mismatches(ZOO) if m.kind == "hard" and m.source == "web"}
    assert found["a"] == "a brown dog runs on the grass"  # e is nearer, but looks like a
    assert found["d"] == "two brown dogs run on a beach"  # a is nearer, but says the same
    assert found["b"] in ("a brown dog runs on the beach", "A BROWN DOG  runs on the beach")
    assert found["e"] != "a brown dog runs on the beach"


def test_a_text_that_might_be_right_is_no_mismatch() -> None:
    own = defaultdict(set)
    for one in ZOO:
        own[one.uid].add(frozenset(one.text.casefold().split()))
    looks = {one.uid: one.phash for one in ZOO}
    said = {one.text: one.uid for one in ZOO}
    made = list(mismatches(ZOO))
    assert {m.kind for m in made} == {"shuffled", "hard"}
    for m in made:
        assert frozenset(m.text.casefold().split()) not in own[m.uid]
        assert looks[said[m.text]] != looks[m.uid]


def test_a_source_of_one_image_makes_none() -> None:
    assert all(m.source == "web" for m in mismatches(ZOO))
    assert list(mismatches([])) == []
    assert list(mismatches([text("a", "one", 1), text("b", "one", 2)])) == []


def test_odd_texts_are_no_error() -> None:
    odd = [text("a", "\u3042\u3044", 1), text("b", ".", 2), text("c", "x" * 100_000, 3), text("d", "\U0001f600", 4)]
    assert len(list(mismatches(odd))) == 8


@pytest.mark.slow
def test_a_sample_is_drawn_by_seed_whatever_the_order(world: World) -> None:
    ledger = Ledger.at(world.out)
    one, again, other = (own_texts(ledger, 30, seed) for seed in (0, 0, 1))
    assert one == again
    assert {c.uid for c in one} != {c.uid for c in other}
    assert len({c.uid for c in one}) == 30
    assert len(one) == 60
    assert all(c.scores["itm"] is not None for c in one)
    assert {c.uid for c in own_texts(ledger, 10_000, 0)} == set(world.uids)


class Widths:
    """A judge of regions that gives the width of what it is shown."""

    name, digest, columns, pixels = "widths", "0", ("width",), PixelSpec(16)

    def score(self, images: torch.Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        return {"width": [[1.0] * len(own) for own in texts]}

    def score_regions(
        self, images: torch.Tensor, texts: list[list[str]], boxes: list[list[Box | None]]
    ) -> dict[str, list[list[float]]]:
        return {"width": [[1.0 if box is None else box[2] - box[0] for box in own] for own in boxes]}


def test_a_mismatch_is_judged_in_the_place_of_the_text_that_it_replaces() -> None:
    """A right text of a region against a wrong one of the whole image would measure the box, not the words."""
    half, quarter = [0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 0.25, 1.0]
    own = [replace(text("a", "a red cup", 1), box=half), replace(text("b", "two dogs", 2), box=quarter)]
    boxes = {(one.uid, one.kind): one.box for one in mismatches(own)}
    assert boxes["a", "shuffled"] == half
    assert boxes["b", "hard"] == quarter
    said: dict[str, list[Said]] = {"a": [("two dogs", half), ("a table", None)]}
    settings = DecodeSettings(isolate=False)
    ((_, found),) = score_texts([("a", encoded(Image.new("RGB", (16, 16)), "PNG"))], said, settings, [Widths()])
    assert found == [{"width": 0.5}, {"width": 1.0}]

"""ScoredPairs made of a run's own texts."""

from collections import defaultdict

from calibration_world import World
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.calibration.mismatch import Candidate, mismatches, own_texts


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


def test_a_sample_is_drawn_by_seed_whatever_the_order(world: World) -> None:
    ledger = Ledger.at(world.out)
    one, again, other = (own_texts(ledger, 30, seed) for seed in (0, 0, 1))
    assert one == again
    assert {c.uid for c in one} != {c.uid for c in other}
    assert len({c.uid for c in one}) == 30
    assert len(one) == 60
    assert all(c.scores["itm"] is not None for c in one)
    assert {c.uid for c in own_texts(ledger, 10_000, 0)} == set(world.uids)

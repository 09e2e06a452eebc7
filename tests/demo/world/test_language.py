"""The language: what it says of a scene is right, what it makes up is wrong, and nothing upsets the rule."""

import string
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capfilt.demo.world import (
    BACKGROUNDS,
    COLORS,
    SHAPES,
    Claims,
    Mention,
    Scene,
    boilerplate,
    brief,
    describe,
    half_sentence,
    is_right,
    other_caption,
    paraphrase,
    parse,
    partial,
    random_scene,
    web_rows,
    wrong_detail,
    wrong_texts,
)

TWO = "a small red circle to the left of a large blue square on a white background"
ONE = "a large orange star on a gray background"
TWINS = "a small red ring above a large red ring on a black background"

RIGHT = [
    (TWO, TWO),
    ("A SMALL RED CIRCLE TO THE LEFT OF A LARGE BLUE SQUARE ON A WHITE BACKGROUND!!", TWO),
    ("a large blue square to the right of a small red circle on a white background", TWO),
    ("There is a tiny red circle left of a big blue square, against a white background.", TWO),
    ("a photo of a red circle and a blue square", TWO),
    ("a blue square and a red circle on white", TWO),
    ("the red circle is on the left side of the blue square", TWO),
    ("on a plain white background there is a little red circle left of one big blue square", TWO),
    ("a circle", TWO),
    ("blue square", TWO),
    ("a  large   square ...", TWO),
    ("an orange star against grey", ONE),
    ("this is a big orange star with a gray background", ONE),
    ("an image with a star", ONE),
    ("a ring over a ring", TWINS),
    ("a big ring beneath a tiny ring", TWINS),
    ("a red ring and a red ring on black", TWINS),
]
WRONG = [
    ("", TWO),
    ("...", TWO),
    ("a small red circle to the right of a large blue square on a white background", TWO),
    ("a small red circle above a large blue square", TWO),
    ("a large red circle to the left of a large blue square", TWO),
    ("a small blue circle to the left of a large red square", TWO),
    ("a small red circle to the left of a large blue square on a black background", TWO),
    ("a small red ring", TWO),
    ("a small red circle above a", TWO),
    ("a small red circle to the left of a large blue", TWO),
    ("a small red circle on a white", TWO),
    ("a small red", TWO),
    ("a photo of", TWO),
    ("a white background", TWO),
    ("a red circle and a red circle", TWO),
    ("a red circle left of a blue square right of a red circle", TWO),
    ("a red circle and a blue square and a red circle", TWO),
    ("a small small red circle", TWO),
    ("a red red circle", TWO),
    ("a circle a square", TWO),
    ("on white a red circle on white", TWO),
    ("a red circle on a red background", TWO),
    ("a shiny red circle", TWO),
    ("redcircle", TWO),
    ("two red circles", TWO),
    ("click here to buy", TWO),
    ("IMG_2041.jpg", TWO),
    ("a red circle 12345", TWO),
    ("a star and a circle", ONE),
    ("a star left of a star", ONE),
    ("a tiny ring over a ring over a ring", TWINS),
    ("a large ring above a small ring", TWINS),
    ("a small ring and a small ring", TWINS),
]


def scenes(n: int) -> list[Scene]:
    rng = np.random.default_rng(5)
    return [random_scene(rng) for _ in range(n)]


@pytest.mark.parametrize(("text", "truth"), RIGHT)
def test_right(text: str, truth: str) -> None:
    assert is_right(text, truth)


@pytest.mark.parametrize(("text", "truth"), WRONG)
def test_wrong(text: str, truth: str) -> None:
    assert not is_right(text, truth)


def test_the_canonical_caption() -> None:
    for scene in scenes(2000):
        told = tuple(Mention(thing.size, thing.color, thing.shape) for thing in scene.things)
        assert parse(describe(scene)) == Claims(told, scene.relation, scene.background)


def test_parse_names_what_is_left_open() -> None:
    assert parse("a tiny star over a grey heart") is None
    assert parse("a tiny star over a pink heart on grey") == Claims(
        (Mention("small", None, "star"), Mention(None, "pink", "heart")), "above", "gray"
    )


@pytest.mark.parametrize("truth", ["", "a circle", "a red circle on white", f"{ONE} {ONE}", TWO.replace(" on ", " ")])
def test_an_incomplete_truth_is_refused(truth: str) -> None:
    with pytest.raises(ValueError, match="not the canonical caption"):
        is_right("a circle", truth)


def test_every_right_text_is_right() -> None:
    rng = np.random.default_rng(0)
    for scene in scenes(3000):
        truth, whole, part = describe(scene), paraphrase(scene, rng), partial(scene, rng)
        assert is_right(whole, truth), (whole, truth)
        assert is_right(part, truth), (part, truth)
        assert is_right(truth, truth)


def test_a_brief_text_is_right_and_states_as_many_facts_as_asked_for() -> None:
    rng = np.random.default_rng(5)
    for scene in scenes(200):
        for facts in range(4):
            text = brief(scene, rng, facts)
            claims = parse(text)
            assert claims is not None
            assert is_right(text, describe(scene)), text
            stated = [value for thing in claims.things for value in (thing.size, thing.color)] + [claims.background]
            assert sum(value is not None for value in stated) == min(facts, len(stated)), text


def test_a_paraphrase_is_a_truth_of_its_own_and_a_partial_is_not() -> None:
    rng = np.random.default_rng(1)
    for scene in scenes(500):
        assert is_right(describe(scene), paraphrase(scene, rng))
        with pytest.raises(ValueError, match="canonical"):
            is_right("a circle", partial_of_all(scene, rng))


def partial_of_all(scene: Scene, rng: np.random.Generator) -> str:
    """A partial text; not the one that leaves out a whole thing, which tells all of a smaller picture."""
    while True:
        text = partial(scene, rng)
        claims = parse(text)
        assert claims is not None
        if len(claims.things) == len(scene.things):
            return text


def test_paraphrases_vary_and_keep_their_articles() -> None:
    rng = np.random.default_rng(2)
    texts = [text for scene in scenes(2000) for text in (paraphrase(scene, rng), partial(scene, rng))]
    assert len(set(texts)) > 3000
    assert any(" an orange " in text for text in texts)
    assert not any(" a orange " in f" {text}" for text in texts)
    assert {word for word in " ".join(texts).split()} >= {*COLORS, *SHAPES, *BACKGROUNDS, "grey", "tiny", "beneath"}


def test_wrong_texts_are_wrong_and_as_many_as_asked_for() -> None:
    rng = np.random.default_rng(3)
    for scene in scenes(1000):
        texts = wrong_texts(scene, rng, 5)
        assert len(texts) == 5
        assert not any(is_right(text, describe(scene)) for text in texts)
    assert wrong_texts(scene, rng, 0) == []


@pytest.mark.parametrize("write", [wrong_detail, other_caption])
def test_near_misses_are_complete_phrases(write: Callable[[Scene, np.random.Generator], str]) -> None:
    rng = np.random.default_rng(4)
    assert all(parse(write(scene, rng)) is not None for scene in scenes(500))


def test_half_sentences_and_boilerplate_are_no_phrases() -> None:
    rng = np.random.default_rng(4)
    assert all(parse(half_sentence(scene, rng)) is None for scene in scenes(500))
    assert all(parse(boilerplate(rng)) is None for _ in range(1000))


def test_texts_depend_on_the_generator_alone() -> None:
    scene = scenes(1)[0]
    first, second = (np.random.default_rng(9) for _ in range(2))
    assert wrong_texts(scene, first, 30) == wrong_texts(scene, second, 30)
    assert [paraphrase(scene, first) for _ in range(30)] == [paraphrase(scene, second) for _ in range(30)]


@pytest.mark.slow
@given(st.text())
def test_no_string_upsets_the_rule(text: str) -> None:
    assert is_right(text, TWO) == (parse(text) is not None and is_right(text.lower(), TWO))


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(st.sampled_from(sorted({*TWO.split(), *TWINS.split(), "and", "is", "photo", "of"})), max_size=12))
def test_what_is_right_of_loose_words_names_a_thing(words: list[str]) -> None:
    text = " ".join(words)
    if is_right(text, TWO):
        assert {"circle", "square"} & set(words)
        assert words[-1] in {"circle", "square", "white", "background"}


@given(st.text(alphabet=string.punctuation + " ", max_size=5), st.text(alphabet=string.punctuation + " ", max_size=5))
def test_marks_and_spaces_state_nothing(before: str, after: str) -> None:
    assert is_right(before + TWO.upper() + after, TWO)


def test_a_very_long_text_is_soon_refused() -> None:
    assert not is_right("a small red circle to the left of " * 10_000, TWO)
    assert not is_right("on a white background " * 10_000, TWO)


def test_about_half_of_the_web_is_wrong() -> None:
    rows = [row for _, row in web_rows(3000, seed=7)]
    wrong = [row for row in rows if not row.right]
    assert 0.42 < len(wrong) / len(rows) < 0.58
    assert {row.kind for row in wrong} == {"swapped", "boilerplate", "half", "detail"}
    assert {row.kind for row in rows if row.right} == {"paraphrase", "partial"}
    assert 0.05 < np.mean([row.kind == "detail" for row in wrong]) < 0.15


def test_web_rows_carry_the_truth_of_their_scene() -> None:
    rows = web_rows(300, seed=8)
    assert [row.name for _, row in rows][:2] == ["000000.jpg", "000001.jpg"]
    assert len({row.name for _, row in rows}) == 300
    assert all(row.truth == describe(scene) for scene, row in rows)
    assert all(row.right == is_right(row.text, row.truth) for _, row in rows)


def test_web_rows_are_the_same_for_the_same_seed() -> None:
    assert web_rows(40, seed=1) == web_rows(60, seed=1)[:40]
    assert web_rows(40, seed=1) != web_rows(40, seed=2)

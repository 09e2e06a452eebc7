"""Which picture and text a step learns from."""

import itertools

import numpy as np
import pytest

from capfilt.pipelines.training_data.sampler import SOURCES, Draw, Sampler, Sampling, Texts

WEB, SYNTHETIC, HUMAN = range(3)


def texts(pictures: int = 50) -> Texts:
    """Picture i has a web text; even ones a synthetic one too; every fifth a human one."""
    rows = [[WEB, *([SYNTHETIC] if i % 2 == 0 else []), *([HUMAN] if i % 5 == 0 else [])] for i in range(pictures)]
    flat = np.array([source for row in rows for source in row], np.int8)
    starts = np.cumsum([0, *map(len, rows)]).astype(np.int64)
    return Texts(starts, flat, np.linspace(0, 1, len(flat), dtype=np.float32))


def sampler(size: int = 8, seed: int = 1, wrong: int = 3, **settings: object) -> Sampler:
    own = texts()
    starts = np.arange(51, dtype=np.int64) * wrong
    return Sampler(own, starts, Sampling(**settings), size, seed)  # type: ignore[arg-type]


def take(source: Sampler, count: int) -> list[Draw]:
    return list(itertools.islice(source, count))


def test_every_picture_once_an_epoch_and_a_text_of_its_own() -> None:
    source = sampler(size=10)
    own = texts()
    draws = take(source, 10)
    for epoch in (draws[:5], draws[5:]):
        assert sorted(np.concatenate([draw.pictures for draw in epoch])) == list(range(50))
    assert not np.array_equal(draws[0].pictures, draws[5].pictures)
    for draw in draws:
        assert (own.starts[draw.pictures] <= draw.texts).all()
        assert (draw.texts < own.starts[draw.pictures + 1]).all()


def test_every_text_once_an_epoch_with_its_picture() -> None:
    own = texts()
    source = sampler(size=5, unit="text")
    assert source.epoch == own.count() // 5 == 17
    for draws in (take(source, 17), take(source, 17)):
        assert sorted(np.concatenate([draw.texts for draw in draws])) == list(range(85))
        for draw in draws:
            assert (np.searchsorted(own.starts, draw.texts, side="right") - 1 == draw.pictures).all()
    assert "every text alike" in source.about()[-1]


def test_what_is_left_of_an_epoch_is_not_a_batch() -> None:
    draws = take(sampler(size=16), 6)
    assert len(set(np.concatenate([draw.pictures for draw in draws[:3]]))) == 48
    assert len(set(np.concatenate([draw.pictures for draw in draws[3:]]))) == 48


def test_shares_are_kept_whatever_there_is_of_a_source() -> None:
    share = {"web": 0.5, "synthetic": 0.2, "human": 0.3}
    own = texts()
    drawn = np.concatenate([draw.texts for draw in take(sampler(size=20, share=share), 300)])
    found = np.bincount(own.sources[drawn], minlength=3) / len(drawn)
    assert found == pytest.approx([0.5, 0.2, 0.3], abs=0.02)


def test_a_source_smaller_than_its_part_gives_some_twice() -> None:
    draw = take(sampler(size=30, share={"human": 1.0}), 1)[0]
    assert np.bincount(draw.pictures)[[0, 5, 10, 15, 20, 25, 30, 35, 40, 45]].tolist() == [3] * 10


@pytest.mark.slow
def test_temperature_prefers_high_scores() -> None:
    """Of picture 0 the texts score 0, 1/84 and 2/84: softmax at 0.01 gives shares of 1 : 3.3 : 10.8."""
    own = texts()
    drawn = np.concatenate([draw.texts for draw in take(sampler(size=50, temperature=0.01), 2000)])
    counts = np.bincount(drawn, minlength=3)[:3] / 2000
    expected = np.exp(own.scores[:3] / 0.01)
    assert counts == pytest.approx(expected / expected.sum(), abs=0.03)


def test_a_text_without_score_counts_as_the_best() -> None:
    own = Texts(np.array([0, 2]), np.zeros(2, np.int8), np.array([0.9, np.nan], np.float32))
    source = Sampler(own, np.zeros(2, np.int64), Sampling(temperature=0.001), 1, 0)
    drawn = [int(draw.texts[0]) for draw in take(source, 400)]
    assert 0.4 < np.mean(drawn) < 0.6


def test_a_window_keeps_neighbours_near() -> None:
    own = Texts(np.arange(1025, dtype=np.int64), np.zeros(1024, np.int8), np.zeros(1024, np.float32))
    source = Sampler(own, np.zeros(1025, np.int64), Sampling(window=128), 128, 0)
    epoch = take(source, 8)
    assert sorted(np.concatenate([draw.pictures for draw in epoch])) == list(range(1024))
    for draw in epoch:
        assert len(set(draw.pictures // 64)) == 2  # two blocks of 64 neighbours
        assert not np.array_equal(draw.pictures, np.sort(draw.pictures))


def test_wrong_texts_are_those_of_the_picture() -> None:
    for draw in take(sampler(marked=2), 5):
        assert [len(row) for row in draw.wrong] == [2] * 8
        for picture, row in zip(draw.pictures, draw.wrong, strict=True):
            assert set(row) <= {3 * picture, 3 * picture + 1, 3 * picture + 2}
    assert take(sampler(marked=0), 1)[0].wrong == [[]] * 8


@pytest.mark.parametrize(
    "settings",
    [{}, {"marked": 1}, {"share": {"web": 0.6, "human": 0.4}}, {"window": 16}, {"temperature": 0.1, "window": 16}],
)
@pytest.mark.parametrize("at", [0, 1, 4, 6, 13])
def test_it_goes_on_anywhere(settings: dict[str, object], at: int) -> None:
    first = sampler(**settings)
    draws = take(first, 20)
    other = sampler(**settings)
    other.go_to(draws[at - 1].position if at else sampler(**settings).position)
    for expected, found in zip(draws[at:], take(other, 20 - at), strict=True):
        assert expected.step == found.step
        assert np.array_equal(expected.pictures, found.pictures)
        assert np.array_equal(expected.texts, found.texts)
        assert expected.wrong == found.wrong
        assert expected.position == found.position


def test_it_says_what_it_draws() -> None:
    about = sampler(size=8, share={"web": 3, "human": 1}, temperature=0.5).about()
    assert about == [
        "50 images with 85 texts: 50 web, 25 synthetic, 10 human",
        "a batch of 8: 75.0 % web, 25.0 % human; one text per image, drawn by softmax(score / 0.5)",
    ]
    assert [SOURCES.index(name) for name in ("web", "synthetic", "human")] == [WEB, SYNTHETIC, HUMAN]

"""What is said of one judge: the recommended threshold, the intervals, the points of the curves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr, ndtri

from capfilt.pipelines.calibration.curves import sweep
from capfilt.pipelines.calibration.measure import POINTS, JudgeMeasurement, PairSample, measure, recommend


def make_sample(size: int, copies: int = 1, seed: int = 0) -> PairSample:
    """Labeled pairs of a fair judge; each image has `copies` of its pair."""
    rng = np.random.default_rng(seed)
    right = rng.random(size) < 0.5
    scores = np.where(right, rng.beta(4, 2, size), rng.beta(2, 4, size))
    images = np.arange(size)
    return PairSample(*(np.repeat(part, copies) for part in (scores, right, images, np.full(size, "web"))), made=False)


def measured(sample: PairSample, precision: float = 0.9, current: float | None = 0.5) -> JudgeMeasurement:
    kinds = np.full(len(sample.scores), "labelled")
    return measure("itm", "web", sample, kinds, precision=precision, current=current, seed=0, is_share=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.sampled_from([0.0, 0.5, 0.8, 1.0]))
@settings(max_examples=100, deadline=None)
def test_the_recommended_threshold_is_the_lowest_that_promises_enough(low: list[float], wanted: float) -> None:
    good = [place for place, value in enumerate(low) if value >= wanted]
    assert recommend(np.array(low), wanted) == (good[-1] if good else None)


def drawn(auc: float, noise: float, made: bool, seed: int, size: int = 300) -> tuple[PairSample, np.ndarray]:
    """A corpus under a judge of this AUC, and which of its own texts are right; normal scores, as of log-odds."""
    rng = np.random.default_rng(seed)
    right = rng.random(size) >= noise
    scores = rng.normal(size=size) + np.where(right, 2**0.5 * ndtri(auc), 0)
    images, positive = np.arange(size), right
    if made:
        scores, images = np.append(scores, rng.normal(size=2 * size)), np.tile(images, 3)
        positive = np.arange(3 * size) < size
    return PairSample(scores, positive, images, np.full(len(scores), "web"), made), right


@pytest.mark.parametrize(
    ("auc", "clean", "half"),
    [(0.76, (0.08, 0.18), (0.4, 0.65)), (0.92, (0, 0.02), (0.45, 0.55)), (0.98, (0, 0.01), (0.45, 0.55))],
)
def test_a_clean_corpus_is_told_clean_and_a_noisy_one_noisy(
    auc: float, clean: tuple[float, float], half: tuple[float, float]
) -> None:
    """Means of 40 draws: the estimate of the best separating threshold told a clean corpus 43, 18 and 7 % wrong."""
    for noise, (low, high) in ((0.0, clean), (0.5, half)):
        found = [sweep(s.scores, s.weights()).noise for s in (drawn(auc, noise, True, seed)[0] for seed in range(40))]
        assert low <= np.mean(found) <= high


@pytest.mark.parametrize(("auc", "noise", "made"), [(0.92, 0.2, False), (0.98, 0.5, True)])
def test_a_recommended_threshold_keeps_its_promise(auc: float, noise: float, made: bool) -> None:
    """At least nine of ten draws reach the precision in the whole population; without a margin half of them do."""
    kept = []
    for seed in range(20):
        sample, _ = drawn(auc, noise, made, seed)
        cut = measured(sample, precision=0.9).recommended
        assert cut is not None
        assert cut.precision.low >= 0.9
        right = (1 - noise) * ndtr(2**0.5 * ndtri(auc) - cut.threshold)
        kept.append(right / (right + noise * ndtr(-cut.threshold)) >= 0.9)
        assert right / (1 - noise) > 0.6  # and it is no threshold that keeps hardly anything
    assert sum(kept) >= 18


def test_a_few_right_texts_promise_nothing() -> None:
    """All resamples of right texts are right; of 15 of them no precision of 95 % follows."""
    scores, right = np.linspace(1, 0, 40), np.arange(40) < 15
    sample = PairSample(scores, right, np.arange(40), np.full(40, "web"), made=False)
    assert measured(sample, precision=0.95).recommended is None
    assert measured(sample, precision=0.7).recommended is not None


def test_intervals_hold_the_value_and_shrink_with_more_images() -> None:
    few, many = measured(make_sample(200)), measured(make_sample(3200))
    for one in (few, many):
        for estimate in (one.auc, one.average_precision, one.noise, one.current.precision, one.current.keep):  # type: ignore[union-attr]
            assert estimate.low <= estimate.value <= estimate.high
    assert (many.auc.high - many.auc.low) < 0.5 * (few.auc.high - few.auc.low)


def test_more_pairs_of_the_same_images_tell_nothing_new() -> None:
    """Ten copies of every pair are not ten times the evidence."""
    once, often = measured(make_sample(200)), measured(make_sample(200, copies=10))
    assert once.auc.value == pytest.approx(often.auc.value)
    assert (often.auc.high - often.auc.low) == pytest.approx(once.auc.high - once.auc.low, rel=0.3)


@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    truth = sweep(*(lambda s: (s.scores, s.weights()))(make_sample(200_000, seed=99))).auc
    covered = [low <= truth <= high for low, high in (_auc(seed) for seed in range(40))]
    assert sum(covered) >= 34


def _auc(seed: int) -> tuple[float, float]:
    auc = measured(make_sample(150, seed=seed)).auc
    return auc.low, auc.high


def test_the_same_seed_gives_the_same_answer() -> None:
    assert measured(make_sample(100)) == measured(make_sample(100))


def test_points_of_a_curve_are_bounded_and_reach_both_ends() -> None:
    curve = measured(make_sample(5000)).curve
    assert len(curve.threshold) <= POINTS + 1
    assert (curve.keep[0], curve.keep[-1], curve.fallout[-1], curve.recall[-1]) == (0, 1, 1, 1)
    assert np.isfinite(curve.threshold).all()
    assert (np.diff(curve.threshold) <= 0).all()


def test_no_threshold_is_made_up_where_none_is_precise_enough() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random(400)
    right = rng.random(400) < 0.5
    right[np.argsort(-scores)[:20]] = False
    sample = PairSample(scores, right, np.arange(400), np.full(400, "web"), made=False)
    assert measured(sample, precision=0.99).recommended is None


def test_a_source_without_noise_does_not_take_over_that_of_another() -> None:
    """Each source has a noise of its own, also when all are measured together."""
    rng = np.random.default_rng(5)
    right = np.concatenate([rng.random(2000) < 0.5, np.full(2000, True)])
    own = np.where(right, rng.beta(9, 2, 4000), rng.beta(2, 9, 4000))
    scores = np.concatenate([own, rng.beta(2, 9, 4000)])
    sources = np.tile(np.repeat(["web", "synthetic"], 2000), 2)
    sample = PairSample(scores, np.arange(8000) < 4000, np.tile(np.arange(2000), 4), sources, made=True)
    assert sweep(scores, sample.weights()).noise == pytest.approx(0.25, abs=0.03)

"""What is said of one judge: the recommended threshold, the intervals, the points of the curves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capfilt.pipelines.calibration.curves import labeled, sweep
from capfilt.pipelines.calibration.measure import POINTS, JudgeMeasurement, PairSample, measure, recommend

LABELED = st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.4, 0.7, 0.9]), st.booleans()), min_size=1, max_size=40)


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


@given(LABELED, st.sampled_from([0.0, 0.5, 0.8, 1.0]))
@settings(max_examples=100, deadline=None)
def test_the_recommended_threshold_is_the_lowest_that_is_precise_enough(
    pairs: list[tuple[float, bool]], wanted: float
) -> None:
    scores, right = np.array([score for score, _ in pairs]), np.array([label for _, label in pairs])
    good = [t for t in set(scores) if right[scores >= t].mean() >= wanted]
    found = recommend(sweep(scores, labeled(right)), wanted)
    if good:
        assert found == pytest.approx(min(good), abs=1e-6)
        assert (scores >= found).sum() == (scores >= min(good)).sum()
    else:
        assert found is None


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

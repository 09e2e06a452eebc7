"""Curves of labeled pairs against scikit-learn's; those of made pairs against a truth that is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capfilt.pipelines.calibration.curves import MOST_NOISE, labeled, made, sweep

Pairs = tuple[list[float], list[bool], list[int]]


@st.composite
def pairs(draw: st.DrawFn) -> Pairs:
    """Scores with many ties, labels of both kinds, and how often a resample drew each pair."""
    size = draw(st.integers(2, 60))
    scores = draw(st.lists(st.sampled_from([-1.0, 0.0, 0.1, 0.25, 0.5, 0.999, 1.0, 3.5]), min_size=size, max_size=size))
    labels = draw(st.lists(st.booleans(), min_size=size - 2, max_size=size - 2))
    times = draw(st.lists(st.integers(0, 3), min_size=size - 2, max_size=size - 2))
    return scores, [True, False, *labels], [1, 1, *times]


@pytest.mark.slow
@given(pairs())
@settings(max_examples=100, deadline=None)
def test_labelled_curves_are_those_of_scikit_learn(given_pairs: Pairs) -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    scores, right, times = (np.array(part) for part in given_pairs)
    counts = sweep(scores, labeled(right, times.astype(float)))
    assert counts.auc == pytest.approx(roc_auc_score(right, scores, sample_weight=times))
    assert counts.average_precision == pytest.approx(average_precision_score(right, scores, sample_weight=times))
    fallout, recall, thresholds = roc_curve(right, scores, sample_weight=times, drop_intermediate=False)
    for place, threshold in enumerate(thresholds):
        mine = counts.at(threshold)
        assert (counts.fallout[mine], counts.recall[mine]) == pytest.approx((fallout[place], recall[place]))


@given(pairs())
@settings(max_examples=100, deadline=None)
def test_precision_and_recall_are_those_of_scikit_learn(given_pairs: Pairs) -> None:
    from sklearn.metrics import precision_recall_curve

    scores, right = np.array(given_pairs[0]), np.array(given_pairs[1])
    counts = sweep(scores, labeled(right))
    precision, recall, thresholds = precision_recall_curve(right, scores)
    assert counts.thresholds[1:][::-1] == pytest.approx(thresholds)
    assert counts.precision[1:][::-1] == pytest.approx(precision[:-1])
    assert counts.recall[1:][::-1] == pytest.approx(recall[:-1])


@given(pairs(), st.floats(-2, 4))
@settings(max_examples=100, deadline=None)
def test_a_place_is_what_the_policy_would_keep(given_pairs: Pairs, threshold: float) -> None:
    scores, right = np.array(given_pairs[0]), np.array(given_pairs[1])
    counts = sweep(scores, labeled(right))
    place = counts.at(threshold)
    assert counts.right[place] + counts.wrong[place] == (scores >= threshold).sum()
    assert counts.keep[place] == pytest.approx((scores >= threshold).mean())
    assert counts.noise == pytest.approx((~right).mean())


def mixture(noise: float, size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores of own texts of which a share is wrong, scores of mismatches, and which own texts are right."""
    rng = np.random.default_rng(seed)
    right = rng.random(size) >= noise
    own = np.where(right, rng.beta(8, 2, size), rng.beta(2, 8, size))
    return own, rng.beta(2, 8, 2 * size), right


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.5, 0.8])
def test_made_pairs_tell_what_labels_would_have_told(noise: float) -> None:
    """The own texts' hidden labels give the truth; the estimate sees only which texts are own."""
    own, others, right = mixture(noise, 4000, 1)
    truth = sweep(own, labeled(right)) if noise else None
    scores, is_own = np.concatenate([own, others]), np.arange(12_000) < 4000
    counts = sweep(scores, made(is_own, scores))
    assert counts.noise == pytest.approx(noise, abs=0.03)
    place = counts.at(0.5)
    assert counts.keep[place] == pytest.approx((own >= 0.5).mean())
    assert counts.precision[place] == pytest.approx(right[own >= 0.5].mean(), abs=0.02)
    assert counts.recall[place] == pytest.approx((own[right] >= 0.5).mean(), abs=0.04)
    if truth:
        assert counts.auc == pytest.approx(truth.auc, abs=0.03)


def test_a_judge_that_sees_nothing_says_so() -> None:
    rng = np.random.default_rng(0)
    scores, own = rng.random(6000), np.arange(6000) < 2000
    counts = sweep(scores, made(own, scores))
    assert counts.noise == pytest.approx(MOST_NOISE, abs=0.06)
    assert 0.1 < counts.precision[counts.at(0.9)] + 0.1 < 0.4


def test_one_score_for_all_is_no_curve_but_no_error() -> None:
    scores, right = np.full(10, 0.5), np.arange(10) < 4
    assert sweep(scores, labeled(right)).auc == 0.5
    counts = sweep(scores, made(right, scores))
    assert counts.keep.tolist() == pytest.approx([0, 1])

"""Isotonic probabilities, and how well they hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from capfilt.pipelines.calibration.curves import labeled, made
from capfilt.pipelines.calibration.probability import BINS, fit, predict_unseen, reliability

SCORES = st.lists(st.floats(-1, 2, width=32), min_size=4, max_size=60)


@given(SCORES, st.integers(0, 2**60 - 1))
@settings(max_examples=100, deadline=None)
def test_labelled_fits_are_those_of_scikit_learn(values: list[float], bits: int) -> None:
    from sklearn.isotonic import IsotonicRegression

    scores, right = np.array(values), np.array([bool(bits >> n & 1) for n in range(len(values))])
    knots = fit(scores, right, labeled(right))
    oracle = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, right)
    asked = np.concatenate([scores, np.linspace(-2, 3, 50)])
    assert knots(asked) == pytest.approx(oracle.predict(asked), abs=1e-6)
    assert (np.diff(knots.y) >= 0).all()


@given(st.lists(st.floats(0, 1), min_size=5, max_size=80), st.integers(0, 2**80 - 1))
@settings(max_examples=100, deadline=None)
def test_reliability_is_that_of_scikit_learn(values: list[float], bits: int) -> None:
    from sklearn.calibration import calibration_curve

    predicted, right = np.array(values), np.array([bool(bits >> n & 1) for n in range(len(values))])
    predicted = np.minimum(np.floor(predicted * BINS + 0.5) / BINS + 0.03, 1)  # away from the borders of bins
    mine = reliability(predicted, labeled(right))
    observed, mean = calibration_curve(right, predicted, n_bins=BINS)
    assert mine.observed == pytest.approx(observed)
    assert mine.predicted == pytest.approx(mean)
    assert sum(mine.weight) == pytest.approx(1)


def test_the_error_is_weighted_by_texts() -> None:
    predicted = np.array([0.9] * 8 + [0.1] * 2)
    right = np.array([True] * 4 + [False] * 4 + [False] * 2)
    assert reliability(predicted, labeled(right)).error == pytest.approx(0.8 * 0.4 + 0.2 * 0.1)


def test_made_pairs_find_the_probability_that_made_them() -> None:
    """Own texts are right with a probability that is a known function of the score."""
    rng = np.random.default_rng(3)
    right = rng.random(20_000) >= 0.4
    own = np.where(right, rng.beta(8, 2, 20_000), rng.beta(2, 8, 20_000))
    others = rng.beta(2, 8, 20_000)
    scores, is_own = np.concatenate([own, others]), np.arange(40_000) < 20_000
    knots = fit(scores, is_own, made(is_own, scores))
    asked = np.array([0.2, 0.4, 0.45, 0.5, 0.6, 0.8])
    density = asked**7 * (1 - asked), asked * (1 - asked) ** 7
    truth = 0.6 * density[0] / (0.6 * density[0] + 0.4 * density[1])
    assert knots(asked) == pytest.approx(truth, abs=0.1)


def test_unseen_images_are_not_predicted_by_themselves() -> None:
    """With labels that are pure chance a fit knows its own images by heart, and others not at all."""
    rng = np.random.default_rng(0)
    scores, right, images = rng.random(400), rng.random(400) < 0.5, np.arange(400)
    known = fit(scores, right, labeled(right))(scores)
    unseen = predict_unseen(scores, right, labeled(right), images)
    assert ((known - right) ** 2).mean() < ((unseen - right) ** 2).mean()
    assert np.corrcoef(unseen, right)[0, 1] < 0.15

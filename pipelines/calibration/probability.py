"""From a score to the probability that the text is right: isotonic regression, and how well such numbers hold."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from capfilt.pipelines.calibration.curves import Floats, Weights

BINS: Final = 10
"""Bins of equal width that predicted probabilities are compared in."""

FOLDS: Final = 5
"""Parts of the images; the probabilities of each are predicted by a fit to the others."""


@dataclass(frozen=True, slots=True)
class Knots:
    """A monotone map from scores to probabilities: linear between knots, constant beyond them."""

    x: tuple[float, ...]  # scores, ascending
    y: tuple[float, ...]  # probabilities in 0..1, never falling

    def __call__(self, scores: Floats) -> Floats:
        return np.interp(scores, self.x, self.y)


@dataclass(frozen=True, slots=True)
class Reliability:
    """What was predicted and what was true, bin by bin; empty bins are left out."""

    predicted: tuple[float, ...]  # mean probability in a bin
    observed: tuple[float, ...]  # share of right texts in it
    weight: tuple[float, ...]  # share of all texts in it; adds up to 1

    @property
    def error(self) -> float:
        """Expected calibration error: |predicted - observed|, averaged over the texts."""
        gaps = np.abs(np.subtract(self.predicted, self.observed))
        return float(gaps @ np.array(self.weight))


def fit(scores: Floats, positive: NDArray[np.bool_], weights: Weights) -> Knots:
    """The isotonic fit of "is right" to the scores.

    Args:
        positive: labeled right, or the run's own text, [N].
        weights: of `curves.labeled` or `curves.made`, [N].
    """
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    # A fit takes no negative weights. So own texts are fitted against as many mismatches as count as wrong, which
    # gives r = own / (own + wrong) at every score, and of these own texts the right ones are 1 - wrong / own.
    wrong = np.where(positive, 0.0, weights.wrong)
    fitted.fit(scores, positive, sample_weight=np.where(positive, weights.right, wrong))
    x, y = fitted.X_thresholds_, fitted.y_thresholds_
    if (weights.right < 0).any():
        # With r = own / (own + wrong), 1 - wrong / own is 2 - 1 / r.
        y = np.clip(2 - 1 / np.maximum(y, 1e-9), 0, 1)
    return Knots(tuple(map(float, x)), tuple(map(float, y)))


def predict_unseen(scores: Floats, positive: NDArray[np.bool_], weights: Weights, images: NDArray[np.int64]) -> Floats:
    """Probabilities by fits that have not seen the image: the honest way to say how well a fit would do.

    Args:
        images: number of the image of every pair, [N].
    """
    predicted = np.zeros(len(scores))
    for fold in range(FOLDS):
        here = images % FOLDS == fold
        if (~here & positive).any() and (~here & ~positive).any():
            other = Weights(weights.right[~here], weights.wrong[~here])
            predicted[here] = fit(scores[~here], positive[~here], other)(scores[here])
    return predicted


def reliability(predicted: Floats, weights: Weights) -> Reliability:
    """Compare probabilities [N] in 0..1 with what is right."""
    bins = np.minimum((predicted * BINS).astype(int), BINS - 1)
    total = weights.right + weights.wrong  # own texts and labeled ones 1, mismatches 0
    count, right, mass = (np.bincount(bins, w, minlength=BINS) for w in (total, weights.right, total * predicted))
    full = count > 0
    observed = np.clip(right[full] / count[full], 0, 1)
    return Reliability(tuple(mass[full] / count[full]), tuple(observed), tuple(count[full] / count[full].sum()))

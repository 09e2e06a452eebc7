"""Curves over the threshold of one judge, from pairs of which some are known to be right and some to be wrong.

Two kinds of pairs. LABELED ones say of each text whether it is right: counting is all there is to do. MADE ones are
the run's own texts against texts of other images. Of the own texts an unknown share `noise` is wrong too, and these are
taken to score like the made mismatches. So what a threshold keeps of the own texts splits into an expected

    wrong(t) = noise * own * (kept mismatches / mismatches)      right(t) = kept own texts - wrong(t)

and all curves follow as from labels. That is done by weights: an own text counts as one right text, a mismatch takes
noise * own / mismatches from the right texts and adds it to the wrong ones.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LOWEST: Final = np.linspace(0.1, 0.2, 5)
"""Shares of the mismatches that lie below the thresholds at which the noise is read off.

Simulated with 500 texts and 1,000 mismatches: a clean corpus reads 0.1 % at a judge's AUC of .98, 1 % at .92 and 14 %
at .76; a noise of 50 % reads 50 % at .92 and above (standard deviation 7 to 10 points).
"""

LEAST_NOISE: Final = 1e-6
MOST_NOISE: Final = 0.95
"""Bounds of `noise`, so that there are always some right and some wrong texts to have shares of."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much every pair counts as a right and as a wrong text, [N]."""

    right: Floats
    wrong: Floats


@dataclass(frozen=True)
class Sweep:
    """What every distinct score would keep as a threshold (`score >= threshold`), the highest first.

    The first of T places is the threshold infinity, which keeps nothing; the last keeps everything.
    """

    thresholds: Floats  # [T]
    right: Floats  # right texts kept, [T]
    wrong: Floats  # wrong texts kept, [T]

    @cached_property
    def keep(self) -> Floats:
        """Share of all texts kept."""
        kept = self.right + self.wrong
        return _share(kept, kept[-1])

    @cached_property
    def recall(self) -> Floats:
        """Share of the right texts kept: the true positive rate."""
        return _share(self.right, self.right[-1])

    @cached_property
    def fallout(self) -> Floats:
        """Share of the wrong texts kept: the false positive rate."""
        return _share(self.wrong, self.wrong[-1])

    @cached_property
    def precision(self) -> Floats:
        """Share of the kept texts that are right; 1 where nothing is kept."""
        kept = self.right + self.wrong
        return np.where(kept > 0, np.clip(_share(self.right, kept), 0, 1), 1.0)

    @property
    def noise(self) -> float:
        """Share of all texts that are wrong."""
        return float(1 - self.precision[-1])

    @property
    def auc(self) -> float:
        """Area under the ROC curve."""
        return float(np.clip(np.trapezoid(self.recall, self.fallout), 0, 1))

    @property
    def average_precision(self) -> float:
        """Area under the precision-recall curve as steps."""
        return float(np.clip(np.diff(self.recall) @ self.precision[1:], 0, 1))

    def at(self, threshold: float) -> int:
        """The place of the lowest of the distinct scores that is at least `threshold`."""
        return int(np.searchsorted(-self.thresholds, -threshold, side="right")) - 1


def sweep(scores: Floats, weights: Weights) -> Sweep:
    """Count what every threshold keeps. `scores` are [N], finite."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))  # equal scores are kept or dropped together
    thresholds = np.concatenate([[np.inf], scores[order][ends]])
    right, wrong = (
        np.concatenate([[0.0], np.cumsum(weight[order])[ends]]) for weight in (weights.right, weights.wrong)
    )
    return Sweep(thresholds, right, wrong)


def labeled(right: NDArray[np.bool_], times: Floats | None = None) -> Weights:
    """Weights of labeled pairs.

    Args:
        right: the labels, [N].
        times: how often a resample drew each pair, [N].
    """
    times = np.ones(len(right)) if times is None else times
    return Weights(times * right, times * ~right)


def made(own: NDArray[np.bool_], scores: Floats, times: Floats | None = None) -> Weights:
    """Weights of made pairs: `own` [N] tells the run's own texts from mismatches; other arguments as `labeled`."""
    plain = labeled(own, times)
    taken = noise(sweep(scores, plain)) * _share(plain.right.sum(), plain.wrong.sum()) * plain.wrong
    return Weights(plain.right - taken, taken)


def noise(counts: Sweep) -> float:
    """Share of the own texts that score like mismatches.

    Below a threshold lie as many of the wrong texts as of the mismatches, and hardly a right one. So the noise is the
    share of own texts below, over the share of mismatches below (as Storey, 2002, estimates a share of true nulls).
    It is read off at several low thresholds and averaged: one alone rests on few texts, the smallest of them is biased
    downwards, and a threshold that separates best has right texts below it.

    It is too high where the judge is weak and scores right texts that low too, and too low where wrong texts are harder
    to tell than the mismatches: a text that is wrong in a way that the judge does not notice counts as right.

    Args:
        counts: own texts as right, mismatches as wrong.
    """
    own, others = 1 - counts.recall, 1 - counts.fallout
    # Turned round: thresholds fall, and `np.interp` wants what it looks up to rise.
    below = np.interp(LOWEST, others[::-1], own[::-1])
    return float(np.clip((below / LOWEST).mean(), LEAST_NOISE, MOST_NOISE))


def _share(part: Floats, whole: Floats | np.float64) -> Floats:
    """part / whole, 0 where there is nothing to have a share of."""
    return np.divide(part, whole, out=np.zeros_like(part), where=np.asarray(whole) > 0)

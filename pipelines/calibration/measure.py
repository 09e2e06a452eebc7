"""One judge and one kind of texts, measured: how well it tells right from wrong, and where to cut."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capfilt.pipelines.calibration.curves import Floats, Sweep, Weights, labeled, made, sweep
from capfilt.pipelines.calibration.probability import Knots, Reliability, fit, predict_unseen, reliability

RESAMPLES: Final = 200
"""Resamples of the bootstrap."""

COVERAGE: Final = 0.95
"""Of the intervals."""

POINTS: Final = 200
"""Places of a curve that are kept for drawing, about."""

DIGITS: Final = 6
"""Leading digits of a recommended threshold."""


@dataclass(frozen=True, slots=True)
class PairSample:
    """N pairs under one judge."""

    scores: Floats  # [N], finite
    positive: NDArray[np.bool_]  # labeled right; of made pairs: the run's own text
    images: NDArray[np.int64]  # number of the image, 0.., [N]: pairs of one image are drawn together
    sources: NDArray[np.str_]  # of the text, [N]: each has a noise of its own
    made: bool  # made of the run's own texts, not labeled

    def weights(self, times: Floats | None = None) -> Weights:
        """See `curves`."""
        plain = labeled(self.positive, times)
        if self.made:
            for source in np.unique(self.sources):
                rows = self.sources == source
                own = made(self.positive[rows], self.scores[rows], None if times is None else times[rows])
                plain.right[rows], plain.wrong[rows] = own.right, own.wrong
        return plain

    def where(self, rows: NDArray[np.bool_]) -> "PairSample":
        """Some of the pairs."""
        parts = {name: getattr(self, name)[rows] for name in ("scores", "positive", "images", "sources")}
        return replace(self, **parts)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number and its bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cut:
    """What a threshold does."""

    threshold: float
    keep: Estimate  # share of all texts kept
    precision: Estimate  # share of the kept texts that are right
    recall: Estimate  # share of the right texts kept


@dataclass(frozen=True, slots=True)
class Curve:
    """Points of the curves, the highest threshold first; drawn, they are the curves of all pairs."""

    threshold: tuple[float, ...]
    keep: tuple[float, ...]
    precision: tuple[float, ...]
    recall: tuple[float, ...]  # true positive rate
    fallout: tuple[float, ...]  # false positive rate


@dataclass(frozen=True, slots=True)
class JudgeMeasurement:
    """All there is to say of one judge on one kind of texts."""

    column: str  # the judge's
    source: str  # web, synthetic, human, other, or all of them
    positive: int  # pairs labeled right, or the run's own
    negative: int  # pairs labeled wrong, or mismatches
    auc: Estimate
    auc_by_kind: dict[str, float]  # of made pairs: against shuffled and against hard mismatches alone
    average_precision: Estimate
    noise: Estimate  # share of the texts that is wrong, before any threshold
    error: float | None  # expected calibration error of the score itself, if it is a probability
    error_fitted: float  # and of the isotonic fit, on images it has not seen
    current: Cut | None  # the threshold of the run's selection, if it looks at this judge
    recommended: Cut | None  # the lowest threshold of the wanted precision; None: there is none
    curve: Curve
    reliability: Reliability | None
    reliability_fitted: Reliability
    knots: Knots


def measure(
    column: str,
    source: str,
    sample: PairSample,
    kinds: NDArray[np.str_],
    *,
    precision: float,
    current: float | None,
    seed: int,
    is_share: bool,
) -> JudgeMeasurement:
    """Measure a sample with at least one positive and one negative pair.

    Args:
        kinds: of mismatch (shuffled, hard), [N]; what it says of other pairs is not looked at.
        precision: what the recommended threshold shall reach.
        current: the threshold in use.
        seed: of the bootstrap.
        is_share: the score says of itself that it is a probability.
    """
    weights = sample.weights()
    counts = sweep(sample.scores, weights)
    wanted = recommend(counts, precision)
    auc, average, noise, in_use, best = _estimates(sample, counts, (current, wanted), seed)
    unseen = predict_unseen(sample.scores, sample.positive, weights, sample.images)
    of_score = reliability(np.clip(sample.scores, 0, 1), weights) if is_share else None
    of_fit = reliability(unseen, weights)
    return JudgeMeasurement(
        column=column,
        source=source,
        positive=int(sample.positive.sum()),
        negative=int((~sample.positive).sum()),
        auc=auc,
        auc_by_kind=_by_kind(sample, kinds) if sample.made else {},
        average_precision=average,
        noise=noise,
        error=of_score.error if of_score else None,
        error_fitted=of_fit.error,
        current=in_use,
        recommended=best,
        curve=_curve(counts),
        reliability=of_score,
        reliability_fitted=of_fit,
        knots=fit(sample.scores, sample.positive, weights),
    )


def _by_kind(sample: PairSample, kinds: NDArray[np.str_]) -> dict[str, float]:
    found = {}
    for kind in np.unique(kinds[~sample.positive]):
        some = sample.where(sample.positive | (kinds == kind))
        found[str(kind)] = sweep(some.scores, some.weights()).auc
    return found


def recommend(counts: Sweep, precision: float) -> float | None:
    """The lowest threshold that keeps a text and reaches the precision, rounded down a little; None if none does."""
    good = np.flatnonzero((counts.precision >= precision) & (counts.right + counts.wrong > 0))
    if not len(good):
        return None
    lowest = float(counts.thresholds[good[-1]])
    unit = 10.0 ** (math.floor(math.log10(abs(lowest) or 1.0)) + 1 - DIGITS)
    return round(math.floor(lowest / unit) * unit, 12)


def _estimates(
    sample: PairSample, counts: Sweep, thresholds: tuple[float | None, float | None], seed: int
) -> tuple[Estimate, Estimate, Estimate, Cut | None, Cut | None]:
    """AUC, average precision, noise and the two cuts, each with its interval."""
    here = _numbers(counts, thresholds)
    resampled = [_numbers(some, thresholds) for some in _resamples(sample, seed)]
    rest = (1 - COVERAGE) / 2
    low, high = np.quantile(resampled, [rest, 1 - rest], axis=0)
    auc, average, noise, *cuts = (Estimate(*map(float, numbers)) for numbers in zip(here, low, high, strict=True))
    first, second = (
        None if threshold is None else Cut(threshold, *cuts[3 * n : 3 * n + 3])
        for n, threshold in enumerate(thresholds)
    )
    return auc, average, noise, first, second


def _numbers(counts: Sweep, thresholds: tuple[float | None, ...]) -> list[float]:
    places = [counts.at(np.inf if threshold is None else threshold) for threshold in thresholds]
    recall = np.clip(counts.recall, 0, 1)  # of made pairs it is an estimate, and may stray
    cuts = [values[place] for place in places for values in (counts.keep, counts.precision, recall)]
    return [counts.auc, counts.average_precision, counts.noise, *map(float, cuts)]


def _resamples(sample: PairSample, seed: int) -> Iterator[Sweep]:
    """Sweeps over images drawn with replacement: the pairs of one image are not independent of each other."""
    present = np.unique(sample.images)
    rng = np.random.default_rng(seed)
    for _ in range(RESAMPLES):
        drawn = rng.choice(present, len(present))
        times = np.bincount(drawn, minlength=present[-1] + 1)[sample.images].astype(np.float64)
        yield sweep(sample.scores, sample.weights(times))


def _curve(counts: Sweep) -> Curve:
    """The curves at about `POINTS` places, evenly spread over what is kept."""
    kept = np.linspace(0, 1, POINTS)
    places = np.unique(np.searchsorted(counts.keep, kept).clip(0, len(counts.thresholds) - 1))
    values = (counts.keep, counts.precision, np.clip(counts.recall, 0, 1), counts.fallout)
    highest = np.append(counts.thresholds[1:2], counts.thresholds[1:])  # infinity has no place on an axis
    return Curve(*(tuple(map(float, value[places])) for value in (highest, *values)))

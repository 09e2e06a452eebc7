"""One judge and one kind of texts, measured: how well it tells right from wrong, and where to cut."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from capfilt.pipelines.calibration.curves import Floats, Sweep, Weights, labeled, made, sweep
from capfilt.pipelines.calibration.probability import Knots, Reliability, fit, predict_unseen, reliability

RESAMPLES: Final = 200
"""Resamples of the bootstrap."""

COVERAGE: Final = 0.95
"""Of the intervals."""

POINTS: Final = 200
"""Places of a curve that are kept for drawing, about."""

PLACES: Final = 2_000
"""Thresholds that may be recommended, about: all there are, or evenly spread over what they keep."""

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
    recommended: Cut | None  # the lowest threshold whose interval of the precision reaches the wanted one; or None
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
        precision: what the recommended threshold promises: the low end of its interval of the precision reaches it.
        current: the threshold in use.
        seed: of the bootstrap.
        is_share: the score says of itself that it is a probability.
    """
    weights = sample.weights()
    counts = sweep(sample.scores, weights)
    auc, average, noise, in_use, best = _estimates(sample, counts, current, precision, seed)
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


def recommend(low: Floats, precision: float) -> int | None:
    """The last place, of the lowest threshold, whose precision is at least so much; None if there is none.

    Args:
        low: the low ends of the precision's intervals, [P], the highest threshold first.
    """
    good = np.flatnonzero(low >= precision)
    return int(good[-1]) if len(good) else None


def _estimates(
    sample: PairSample, counts: Sweep, current: float | None, precision: float, seed: int
) -> tuple[Estimate, Estimate, Estimate, Cut | None, Cut | None]:
    """AUC, average precision, noise, and the cuts in use and recommended, each with its interval."""
    in_use = counts.at(np.inf if current is None else current)
    last = len(counts.thresholds) - 1
    places = np.unique([*np.linspace(min(1, last), last, PLACES).astype(int), in_use])
    drawn = [(_numbers(some), _shares(some, places)) for some in _resamples(sample, seed)]
    numbers, shares = (
        _intervals(part) for part in zip(*[(_numbers(counts), _shares(counts, places)), *drawn], strict=True)
    )
    kept = (counts.right + counts.wrong)[places]
    shares[1, 1] = np.minimum(shares[1, 1], _exact_low(kept, shares[0, 1]))
    # A threshold that keeps nothing promises nothing.
    best = recommend(np.where(kept > 0, shares[1, 1], -1), precision)
    auc, average, noise = (Estimate(*map(float, of)) for of in numbers.T)
    return (
        auc,
        average,
        noise,
        None if current is None else _cut(current, shares[:, :, places.searchsorted(in_use)]),
        None if best is None else _cut(_rounded_down(counts.thresholds[places[best]]), shares[:, :, best]),
    )


def _intervals(rows: tuple[Floats, ...]) -> Floats:
    """Value, low and high, [3, ...], of a value and its resamples, in that order."""
    rest = (1 - COVERAGE) / 2
    return np.stack([rows[0], *np.quantile(rows[1:], [rest, 1 - rest], axis=0)])


def _exact_low(kept: Floats, precision: Floats) -> Floats:
    """The low end of the precision by Clopper and Pearson (1934), [P].

    Resamples of a few texts that are all right are all right too: their spread alone would promise too much.
    """
    right = kept * precision
    # Defined above 0 only; where nothing is right, the low end is 0.
    low = betaincinv(np.maximum(right, 1e-9), kept - right + 1, (1 - COVERAGE) / 2)
    return np.where(right > 0, low, 0.0)


def _rounded_down(threshold: float) -> float:
    unit = 10.0 ** (math.floor(math.log10(abs(threshold) or 1.0)) + 1 - DIGITS)
    return round(math.floor(threshold / unit) * unit, 12)


def _numbers(counts: Sweep) -> Floats:
    return np.array([counts.auc, counts.average_precision, counts.noise])


def _shares(counts: Sweep, places: NDArray[np.int64]) -> Floats:
    """Kept share, precision and recall at P places: [3, P]."""
    recall = np.clip(counts.recall, 0, 1)  # of made pairs it is an estimate, and may stray
    return np.stack([counts.keep[places], counts.precision[places], recall[places]])


def _cut(threshold: float, shares: Floats) -> Cut:
    """Of value, low and high of the three shares, [3, 3]."""
    return Cut(threshold, *(Estimate(*map(float, of)) for of in shares.T))


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

"""Two models on one test set: differences by query, and how far chance may carry their mean.

A difference of means has an interval much narrower than either mean, for hard images are hard for both. Images are what
is drawn anew (Efron's bootstrap): texts of one image stand or fall together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from capfilt.core.errors import ModelError
from capfilt.pipelines.calibration.curves import labeled, sweep

DRAWS: Final = 2000
AUC_DRAWS: Final = 500
"""Each of them orders all texts anew."""
AT_ONCE: Final = 1 << 20
"""Images drawn in one go, to bound the memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PerQuery:
    """What the measures of a model are means of; empty where it was not asked for them."""

    uids: tuple[str, ...] = ()  # of the images
    ranks: Mapping[str, Sequence[float]] = field(default_factory=dict)  # "tr" of images, "ir" of texts; 0 = first
    owner: tuple[int, ...] = ()  # the image of each text of "ir"
    cider: tuple[float, ...] = ()  # of the caption of each image
    scores: Mapping[str, Sequence[float]] = field(default_factory=dict)  # of texts, by column
    right: tuple[bool, ...] = ()  # which of these texts are right
    image: tuple[int, ...] = ()  # and the image of each
    hits: tuple[bool, ...] = ()  # images that were given their class


@dataclass(frozen=True, slots=True)
class Difference:
    """One model minus the other."""

    mean: float
    low: float  # of the 95 % interval
    high: float


def paired_difference(ours: ArrayLike, theirs: ArrayLike, image: Sequence[int], seed: int = 0) -> Difference:
    """The difference of the means of a measure of queries, with a 95 % percentile interval over drawn images.

    Args:
        ours, theirs: the measure of each query, [Q].
        image: the image of each query, [Q], 0 .. N - 1; every image has one at least.
    """
    differences = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    sums, counts = np.bincount(image, differences), np.bincount(image)
    rng, images = np.random.default_rng(seed), len(sums)
    drawn: list[float] = []
    while len(drawn) < DRAWS:
        chosen = rng.integers(0, images, (max(1, min(DRAWS - len(drawn), AT_ONCE // images)), images))
        drawn += (sums[chosen].sum(1) / counts[chosen].sum(1)).tolist()
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Difference(float(differences.mean()), float(low), float(high))


def differences(ours: PerQuery, theirs: PerQuery, at: Sequence[int]) -> dict[str, Difference]:
    """Differences of all measures that two models share, by their names: tr_1, ir_10, auc_itm, cider, accuracy.

    Raises:
        ModelError: they share none, or used different images.
    """
    if ours.uids != theirs.uids:
        raise ModelError("--against: the two models could not use the same images")
    found = dict(_differences(ours, theirs, at))
    if not found:
        raise ModelError("--against: the two models have no measure in common")
    return found


def _differences(ours: PerQuery, theirs: PerQuery, at: Sequence[int]) -> Iterator[tuple[str, Difference]]:
    images = {"tr": range(len(ours.ranks.get("tr", ()))), "ir": ours.owner}
    for side in ours.ranks if theirs.ranks else ():
        mine, others = np.array(ours.ranks[side]), np.array(theirs.ranks[side])
        for k in at:
            yield f"{side}_{k}", paired_difference(mine < k, others < k, list(images[side]))
    both = any(ours.right) and not all(ours.right)
    for column in ours.scores if both else ():
        if column in theirs.scores:
            yield f"auc_{column}", _auc_difference(ours, theirs, column)
    for name in ("cider", "hits"):
        mine, others = getattr(ours, name), getattr(theirs, name)
        if mine and others:
            yield {"hits": "accuracy"}.get(name, name), paired_difference(mine, others, range(len(mine)))


def _auc_difference(ours: PerQuery, theirs: PerQuery, column: str, seed: int = 0) -> Difference:
    """Of the AUC of a score; all texts of an image that is drawn twice count twice."""
    right, image = np.array(ours.right), np.array(ours.image)
    pairs = [np.array(some.scores[column], np.float64) for some in (ours, theirs)]
    rng, images = np.random.default_rng(seed), int(image.max()) + 1

    def difference(times: NDArray[np.float64]) -> float:
        mine, others = (sweep(scores, labeled(right, times)).auc for scores in pairs)
        return mine - others

    drawn = [
        difference(np.bincount(rng.integers(0, images, images), minlength=images)[image].astype(np.float64))
        for _ in range(AUC_DRAWS)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Difference(difference(np.ones(len(right))), float(low), float(high))

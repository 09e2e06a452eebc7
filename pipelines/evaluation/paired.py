"""Two models on one test set: differences by query, and how far chance may carry their mean.

A difference of means has an interval much narrower than either mean, for hard images are hard for both. Images are what
is drawn anew (Efron's bootstrap): texts of one image stand or fall together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from capfilt.core.errors import ModelError

DRAWS: Final = 2000
AT_ONCE: Final = 1 << 20
"""Images drawn in one go, to bound the memory."""


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


def recall_differences(
    ours: Mapping[str, Sequence[float]], theirs: Mapping[str, Sequence[float]], owner: Sequence[int], at: Sequence[int]
) -> dict[str, Difference]:
    """Differences of R@k by side and k ("tr_1", "ir_10"), as `evaluate` names them.

    Args:
        ours, theirs: the rank of every query, 0 = first; "tr" of images, "ir" of texts.
        owner: the image of each text.

    Raises:
        ModelError: one of the two gives no ranks, or they were asked about different images.
    """
    if not ours or not theirs:
        raise ModelError("--against: only judges with features for images and for texts can be compared")
    if any(len(ours[side]) != len(theirs[side]) for side in ours):
        raise ModelError("--against: the two judges could not use the same images")
    images = {"tr": range(len(ours["tr"])), "ir": owner}
    return {
        f"{side}_{k}": paired_difference(np.array(ours[side]) < k, np.array(theirs[side]) < k, list(images[side]))
        for side in ours
        for k in at
    }

"""mix: one score out of all judges' scores, by a logistic regression that is fitted to the pairs of a calibration.

M-FLYT (Shechter and Carmon, arXiv:2503.08805) selects better by a learned mix of stored scores than by any of them.
`capfilt.pipelines.selection.scores` makes SQL of what is fitted here.
"""

from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from capfilt.pipelines.calibration.curves import Floats
from capfilt.pipelines.calibration.probability import FOLDS
from capfilt.pipelines.selection.scores import MIX, Mix

LEAST: Final = 20
"""Positive and negative pairs below which nothing is fitted."""


def fit_mix(pairs: pa.Table, columns: list[str]) -> tuple[Mix, Floats] | str:
    """The mix of judges, and what it says of each pair by a fit that has not seen its image; or why there is none.

    Args:
        pairs: `gather.PAIR` and the judges' columns, N rows.
        columns: of the judges.

    Returns:
        The mix, and probabilities, [N]; NaN for a pair that not all of its judges have scored.
    """
    if MIX in columns:
        return f"a judge of this run is named {MIX}"
    names, scores = _spoken(pairs, columns)
    if len(names) < 2:
        return "fewer than two judges scored every pair and tell pairs apart"
    right, whole = pairs["positive"].to_numpy(), np.isfinite(scores).all(axis=1)
    if np.bincount(right[whole], minlength=2).min() < LEAST:
        return f"fewer than {LEAST} pairs of one kind have all scores"
    images = np.unique(np.array(pairs["uid"].to_pylist(), dtype=np.str_), return_inverse=True)[1]
    unseen = np.full(len(right), np.nan)
    for fold in range(FOLDS):
        here, others = whole & (images % FOLDS == fold), whole & (images % FOLDS != fold)
        if here.any() and len(np.unique(right[others])) == 2:
            unseen[here] = _fit(scores[others], right[others]).predict_proba(scores[here])[:, 1]
    return _mix(_fit(scores[whole], right[whole]), names), unseen


def _spoken(pairs: pa.Table, columns: list[str]) -> tuple[list[str], Floats]:
    """The judges that scored every pair, not all alike, and their scores, [N, judges]."""
    # A judge of regions says nothing of whole images: a mix with it would say nothing either.
    whole = [name for name in columns if not pairs[name].null_count]
    scores = np.array([pairs[name].to_numpy().astype(np.float64) for name in whole]).reshape(len(whole), -1)
    finite = np.where(np.isfinite(scores), scores, np.nan)
    varies = np.nanmax(finite, axis=1, initial=-np.inf) > np.nanmin(finite, axis=1, initial=np.inf)
    return [name for name, varied in zip(whole, varies, strict=True) if varied], scores[varies].T


def _fit(scores: Floats, right: NDArray[np.bool_]) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression()).fit(scores, right)


def _mix(fitted: Any, names: list[str]) -> Mix:
    scaler, regression = (step for _, step in fitted.steps)
    effects = regression.coef_[0]
    weights = effects / scaler.scale_
    bias = float(regression.intercept_[0] - weights @ scaler.mean_)
    return Mix(
        dict(zip(names, map(float, weights), strict=True)), bias, dict(zip(names, map(float, effects), strict=True))
    )

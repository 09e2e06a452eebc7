"""How much every threshold keeps, counted from sorted scores, so that the page can show it while the slider moves."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from capfilt.browse.index import Index
from capfilt.browse.lru_cache import LRUCache
from capfilt.core.duckdb_sandbox import quoted

PLACES: Final = 1000
"""Places of a slider, about."""

SCORES_BYTES: Final = 512_000_000
"""Sorted scores that are remembered: 16 bytes a text and judge, at most."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Numbers:
    """What each of some thresholds keeps."""

    thresholds: list[float]
    kept: dict[str, list[int]]  # texts, by source
    images: list[int]  # with at least one kept text


@dataclass(frozen=True, slots=True)
class Scores:
    """One judge's scores of the texts that a threshold may keep at all, ascending."""

    texts: dict[str, Floats]  # by source
    images: Floats  # of the best text of each image

    @property
    def nbytes(self) -> int:
        return self.images.nbytes + sum(scores.nbytes for scores in self.texts.values())


class ThresholdCounter:
    """Counts what thresholds keep, for every judge of a run; safe to call from several threads."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._scores: LRUCache[str, Scores] = LRUCache(SCORES_BYTES, lambda scores: scores.nbytes)

    def count(self, judge: str, thresholds: Floats) -> Numbers:
        """What the thresholds [N] keep of a judge's texts: those with score >= threshold."""
        scores = self._of(judge)
        kept = {source: _at_least(some, thresholds) for source, some in scores.texts.items()}
        return Numbers(thresholds.tolist(), kept, _at_least(scores.images, thresholds))

    def slider(self, judge: str) -> Floats:
        """Round thresholds, ascending, of which the first keeps every text and the last (almost) none."""
        scores = [some[np.isfinite(some)] for some in self._of(judge).texts.values()]
        finite = np.concatenate([np.zeros(0), *scores])
        if not len(finite):
            return np.array([0.0, 1.0])
        low, high = float(finite.min()), float(finite.max())
        return _rounded(0.0, 1.0) if low >= 0 and high <= 1 else _rounded(low, high)

    def _of(self, judge: str) -> Scores:
        return self._scores.get(judge, lambda: self._read(judge))

    def _read(self, judge: str) -> Scores:
        judged = f"FROM texts WHERE decidable AND {quoted(judge)} IS NOT NULL"
        each = self._index.query(f"SELECT source, {quoted(judge)}::DOUBLE AS score {judged}")
        best = self._index.query(f"SELECT max({quoted(judge)})::DOUBLE AS score {judged} GROUP BY place")
        sources, scores = each["source"].to_numpy(), each["score"].to_numpy()
        texts = {name: np.sort(scores[sources == name]) for name in sorted(set(sources))}
        return Scores(texts, np.sort(best["score"].to_numpy()))


def _at_least(scores: Floats, thresholds: Floats) -> list[int]:
    kept: list[int] = (len(scores) - np.searchsorted(scores, thresholds, side="left")).tolist()
    return kept


def _rounded(low: float, high: float) -> Floats:
    """About `PLACES` decimals of one step (1, 2 or 5 times a power of ten), from below `low` to above `high`."""
    rough = max(high - low, 1e-6) / PLACES
    # 1e-9: the logarithm of 0.001 may come out just below -3.
    power = math.floor(math.log10(rough) + 1e-9)
    step = next(factor * 10.0**power for factor in (1, 2, 5, 10) if factor * 10.0**power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    steps: Floats = np.round(np.arange(first, last + 1) * step, max(0, -power))
    return steps

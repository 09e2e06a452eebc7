"""What a selection changes against the one before it, counted chunk by chunk: texts, images, doubt, and examples."""

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from capfilt.pipelines.selection.scores import is_probability, judge_columns

EXAMPLES: Final = 5
"""Texts shown of those gained, and of those lost."""

ANY: Final = "any"
"""Stands for all sources together."""

Mask = NDArray[np.bool_]
Cells = Counter[tuple[str, bool, bool]]
"""How many, by source, whether kept before, and whether kept now."""


@dataclass(frozen=True, slots=True)
class ChangedText:
    """A text whose fate has changed."""

    source: str
    text: str
    reason: str  # of the new decision
    scores: dict[str, float | None]  # by judge's column


@dataclass(slots=True)
class Diff:
    """Two selections over the same candidates. Where there was none before, nothing was kept."""

    texts: Cells = field(default_factory=Counter)
    images: Cells = field(default_factory=Counter)  # with a text of that source
    doubt: dict[tuple[str, bool], float] = field(default_factory=dict)  # source, now: sum of 1 - itm over kept texts
    judged: Counter[tuple[str, bool]] = field(default_factory=Counter)  # how many texts that sum is of
    gained: list[tuple[float, ChangedText]] = field(default_factory=list)  # drawn by chance: those of the least number
    lost: list[tuple[float, ChangedText]] = field(default_factory=list)

    def add(self, other: "Diff") -> None:
        """Take in another chunk's."""
        self.texts.update(other.texts)
        self.images.update(other.images)
        self.judged.update(other.judged)
        for key, value in other.doubt.items():
            self.doubt[key] = self.doubt.get(key, 0.0) + value
        self.gained = sorted([*self.gained, *other.gained], key=lambda drawn: drawn[0])[:EXAMPLES]
        self.lost = sorted([*self.lost, *other.lost], key=lambda drawn: drawn[0])[:EXAMPLES]

    @property
    def sources(self) -> list[str]:
        return sorted({source for source, _, _ in self.texts} - {ANY})

    def expected_wrong(self, source: str, now: bool = True) -> float | None:
        """Share of kept texts that are wrong, if itm is the probability that a text is right: the mean of 1 - itm.

        It is the judge's own estimate, not a measurement: a judge that errs, errs here too. None without an itm.
        """
        judged = self.judged[source, now]
        return self.doubt[source, now] / judged if judged else None


@dataclass(frozen=True, slots=True)
class Moves:
    """How many were kept before, came, went, and are kept now; and how many are not."""

    before: int
    gained: int
    lost: int
    after: int
    dropped: int


def moves(cells: Cells, source: str) -> Moves:
    """The sums of `Diff.texts` or `Diff.images` for a source or `ANY`."""
    stayed, gained, lost, out = (
        cells[source, *kept] for kept in ((True, True), (False, True), (True, False), (False, False))
    )
    return Moves(stayed + lost, gained, lost, stayed + gained, lost + out)


def compare(chunk: str, captions: pa.Table, old: pa.Table | None, new: pa.Table) -> Diff:
    """The diff of one chunk.

    Args:
        captions: uid, candidate, source, text and the judges' columns.
        old: `schema.DECISIONS` from before, perhaps of other candidates; None = nothing was kept.
        new: `schema.DECISIONS`, rows as in `captions`.
    """
    before, now = _kept_before(old, new), new["keep"].to_numpy()
    encoded = captions["source"].combine_chunks().dictionary_encode()
    sources, codes = encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
    image = captions["uid"].combine_chunks().dictionary_encode().indices.to_numpy()
    doubt = _doubt(captions)
    diff = Diff()
    for source, here in [*((name, codes == code) for code, name in enumerate(sources)), (ANY, codes >= 0)]:
        diff.images.update(_cells(source, _any(image, before & here), _any(image, now & here)))
        diff.texts.update(_cells(source, before[here], now[here]))
        for side, kept in ((False, before), (True, now)):
            rows = kept & here & np.isfinite(doubt)
            diff.judged[source, side] = int(rows.sum())
            diff.doubt[source, side] = float(doubt[rows].sum())
    # crc32, because Python's hash of a string is another one in every process.
    draw = np.random.default_rng(zlib.crc32(chunk.encode())).random(len(now))
    diff.gained = _examples(captions, new, draw, now & ~before)
    diff.lost = _examples(captions, new, draw, before & ~now)
    return diff


def _kept_before(old: pa.Table | None, new: pa.Table) -> Mask:
    if old is None:
        return np.zeros(new.num_rows, np.bool_)
    if old["uid"].equals(new["uid"]) and old["candidate"].equals(new["candidate"]):
        kept: Mask = old["keep"].to_numpy()
        return kept
    found: Mask = pc.is_in(keys(new), keys(old.filter(old["keep"])).combine_chunks()).to_numpy()
    return found


def keys(decisions: pa.Table) -> pa.ChunkedArray:
    """uid and candidate in one string."""
    return pc.binary_join_element_wise(decisions["uid"], decisions["candidate"].cast(pa.string()), "/")


def _any(image: NDArray[np.int32], kept: Mask) -> Mask:
    """Whether any text of an image is kept, by image."""
    found = np.zeros(int(image.max(initial=-1)) + 1, np.bool_)
    found[image[kept]] = True
    return found


def _cells(source: str, before: Mask, now: Mask) -> dict[tuple[str, bool, bool], int]:
    counts = np.bincount(2 * before + now, minlength=4)
    return {(source, bool(cell // 2), bool(cell % 2)): int(count) for cell, count in enumerate(counts)}


def _doubt(captions: pa.Table) -> NDArray[np.float64]:
    """1 - probability, NaN where no judge gave one; of several such columns, the first counts."""
    names: Sequence[str] = [name for name in judge_columns(captions.schema) if is_probability(name)]
    if not names:
        return np.full(captions.num_rows, np.nan)
    scores: NDArray[Any] = captions[names[0]].to_numpy()
    return 1 - scores.astype(np.float64)


def _examples(captions: pa.Table, new: pa.Table, draw: NDArray[Any], changed: Mask) -> list[tuple[float, ChangedText]]:
    rows = np.flatnonzero(changed)
    rows = rows[np.argsort(draw[rows])[:EXAMPLES]]
    judges, reasons = judge_columns(captions.schema), new["reason"].take(rows).to_pylist()
    return [
        (float(number), ChangedText(row["source"], row["text"], reason, {judge: row[judge] for judge in judges}))
        for number, row, reason in zip(draw[rows], captions.take(rows).to_pylist(), reasons, strict=True)
    ]

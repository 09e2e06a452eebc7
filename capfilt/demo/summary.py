"""How many texts were wrong before and after, which only a world that knows the truth can say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from capfilt.core import schema
from capfilt.demo.world import is_right
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import status


@dataclass(frozen=True, slots=True)
class TextCounts:
    """The texts of one source, of all images of a run. Shares are None where there is nothing to have a share of."""

    total: int
    kept: int
    wrong: int
    kept_wrong: int

    @property
    def dropped(self) -> int:
        return self.total - self.kept

    @property
    def wrong_share(self) -> float | None:
        """Of all texts."""
        return _share(self.wrong, self.total)

    @property
    def kept_wrong_share(self) -> float | None:
        """Of the kept texts."""
        return _share(self.kept_wrong, self.kept)

    @property
    def right_kept_share(self) -> float | None:
        """Kept ones of the right texts."""
        return _share(self.kept - self.kept_wrong, self.total - self.wrong)

    def to_dict(self) -> dict[str, float | None]:
        """Numbers for demo.json."""
        names = ("total", "kept", "dropped", "wrong", "kept_wrong")
        shares = ("wrong_share", "kept_wrong_share", "right_kept_share")
        return {name: getattr(self, name) for name in (*names, *shares)}


@dataclass(frozen=True, slots=True)
class DemoSummary:
    """The numbers of the demo's table."""

    rows: int
    images: int
    failures: dict[str, int]  # by reason, most frequent first
    corpus: int  # images with at least one kept text
    web: TextCounts
    synthetic: TextCounts

    @property
    def wrong_before(self) -> float | None:
        """Share of wrong texts as the web has them."""
        return self.web.wrong_share

    @property
    def wrong_after(self) -> float | None:
        """Share of wrong texts among all that were kept, web and synthetic."""
        return _share(self.web.kept_wrong + self.synthetic.kept_wrong, self.web.kept + self.synthetic.kept)

    def to_dict(self) -> dict[str, Any]:
        """Numbers for demo.json."""
        names = ("rows", "images", "failures", "corpus", "wrong_before", "wrong_after")
        plain = {name: getattr(self, name) for name in names}
        return plain | {"web": self.web.to_dict(), "synthetic": self.synthetic.to_dict()}


def summarize_demo(out: Path, truth: pa.Table) -> DemoSummary:
    """Hold a finished run against the truth.

    Args:
        truth: `truth.TRUTH`.
    """
    ledger = Ledger.at(out)
    stand = status(ledger.folder)
    columns = ["uid", "candidate", "source", "text"]
    captions = ledger.dataset("captions", schema.captions_schema(())).to_table(columns=columns).to_pylist()
    decisions = ledger.dataset("decisions", schema.DECISIONS).to_table().to_pylist()
    kept = {(row["uid"], row["candidate"]) for row in decisions if row["keep"]}
    facts = dict(zip(truth["uid"].to_pylist(), truth["text"].to_pylist(), strict=True))
    judged = [(r["source"], (r["uid"], r["candidate"]) in kept, is_right(r["text"], facts[r["uid"]])) for r in captions]
    return DemoSummary(
        rows=stand.rows_done,
        images=stand.images,
        failures=stand.failures,
        corpus=len({uid for uid, _ in kept}),
        web=_texts([(keep, right) for source, keep, right in judged if source == "web"]),
        synthetic=_texts([(keep, right) for source, keep, right in judged if source == "synthetic"]),
    )


def _texts(judged: list[tuple[bool, bool]]) -> TextCounts:
    """Counts over (kept, right)."""
    return TextCounts(
        total=len(judged),
        kept=sum(keep for keep, _ in judged),
        wrong=sum(not right for _, right in judged),
        kept_wrong=sum(keep and not right for keep, right in judged),
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None

"""Summary of a round: noise by source, diversity, held-out scores, and whether to stop."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from capfilt.bootstrap.config import StopSettings
from capfilt.core.storage import Folder
from capfilt.pipelines.evaluation.captions import diversity


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSummary:
    """Numbers of one round. Round 0 keeps everything, so it has no noise figures."""

    round: int
    texts: dict[str, int]  # kept, by source
    noise: dict[str, float]  # share of texts that were dropped, by source
    kept: dict[str, float]  # diversity of the kept synthetic texts
    deciding: float  # R@1, mean of TR and IR, of validation pairs; without any, of test pairs
    retrieval: float  # the same of test pairs
    tr_1: float
    ir_1: float
    bleu_4: float
    cider: float
    auc: float | None  # of ITM on texts marked as wrong
    distinct: float  # distinct-2 of captions sampled for validation (test) images, relative to human captions
    vocabulary: float  # likewise


def summarize_round(out: Path, number: int, validated: bool) -> RoundSummary:
    """Summary of a complete round; also written to its report.json.

    Args:
        validated: there are validation pairs; what the stop rule looks at is theirs.
    """
    home = out / f"round-{number}"
    scores = json.loads((home / "scores.json").read_text(encoding="utf-8"))
    held = json.loads((home / "validation.json").read_text(encoding="utf-8")) if validated else scores
    found, drawn, human = scores["retrieval"], held["drawn"], held["human"]
    texts, noise, synthetic = _kept(home / "run") if number else ({}, {}, [])
    told = RoundSummary(
        round=number,
        texts=texts,
        noise=noise,
        kept=diversity(synthetic) if synthetic else {},
        deciding=_recall(held["retrieval"]),
        retrieval=_recall(found),
        tr_1=found["tr_1"],
        ir_1=found["ir_1"],
        bleu_4=scores["captions"]["bleu_4"],
        cider=scores["captions"]["cider"],
        auc=scores["auc"].get("itm"),
        distinct=drawn["distinct_2"] / human["distinct_2"] if human["distinct_2"] else 1.0,
        vocabulary=drawn["vocabulary"] / max(1, human["vocabulary"]),
    )
    Folder.at(home).write("report.json", (json.dumps(asdict(told), indent=1) + "\n").encode())
    return told


def _recall(found: dict[str, float]) -> float:
    return (found["tr_1"] + found["ir_1"]) / 2


def stop_reason(rounds: list[RoundSummary], stop: StopSettings) -> str:
    """Why the loop should stop after the last round; "" = continue."""
    last = rounds[-1]
    best = max(rounds, key=lambda one: one.deciding)
    if best.deciding - last.deciding > stop.fall:
        return f"held-out R@1 fell from {100 * best.deciding:.1f} % (round {best.round}) to {100 * last.deciding:.1f} %"
    for name, share in (("distinct-2", last.distinct), ("vocabulary", last.vocabulary)):
        if last.round and share < stop.diversity:
            return f"diversity collapsed: {name} of sampled captions is {100 * share:.0f} % of human captions'"
    return ""


def _kept(run: Path) -> tuple[dict[str, int], dict[str, float], list[str]]:
    """Kept texts by source, the noise of each source, and the kept synthetic texts."""
    from capfilt.pipelines.query import run_query

    sql = "SELECT source, keep, text FROM captions NATURAL JOIN decisions"
    rows = run_query(Folder.at(run), sql, None).to_pylist()
    all_ = Counter(row["source"] for row in rows)
    kept = Counter(row["source"] for row in rows if row["keep"])
    texts = [row["text"] for row in rows if row["keep"] and row["source"] == "synthetic"]
    return dict(kept), {source: 1 - kept[source] / count for source, count in all_.items()}, texts

"""The charts of the report, drawn from its numbers."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from capfilt import charts
from capfilt.charts import Axis, Link, Node
from capfilt.core.formatting import clean
from capfilt.ledger.status import Status
from capfilt.report.counts import Decided
from capfilt.report.database import SOURCES
from capfilt.report.language import LONGEST, Lengths
from capfilt.report.scores import FIELDS, Histogram, JointHistogram

REASONS: Final = 5
"""Reasons that a flow distinguishes; all others are one."""

NAME: Final = 22
"""Characters of a name in a chart."""

OTHER: Final = "other reasons"


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart with its heading."""

    title: str
    drawing: Markup


def rows_sankey(stand: Status, kept: int) -> Chart:
    """What became of the rows; `kept` images have a kept text."""
    failed, bare = sum(stand.failures.values()), stand.images - kept
    reasons = _fewer(Counter(stand.failures))
    columns = [
        [Node("rows", "rows", stand.rows_done)],
        [Node("images", "images", stand.images), Node("failures", "failures", failed, "dropped")],
        [
            Node("kept", "a text kept", kept, "kept"),
            Node("bare", "no text kept", bare, "dropped"),
            *(Node(f"reason {name}", _short(name), count, "dropped") for name, count in reasons.items()),
        ],
    ]
    links = [
        Link("rows", "images", stand.images),
        Link("rows", "failures", failed),
        Link("images", "kept", kept),
        Link("images", "bare", bare),
        *(Link("failures", f"reason {name}", count) for name, count in reasons.items()),
    ]
    return Chart("Rows", charts.sankey(columns, links, label="what became of the rows"))


def texts_sankey(texts: Iterable[Decided]) -> Chart:
    """What became of the texts."""
    texts = list(texts)
    dropped: Counter[str] = Counter()
    for one in texts:
        if one.keep is False:
            dropped[one.reason] += one.count
    reasons = _fewer(dropped)
    flows: Counter[tuple[str, str]] = Counter()
    for one in texts:
        fate = f"reason {one.reason if one.reason in reasons else OTHER}" if one.keep is False else str(one.keep)
        flows[one.source, fate] += one.count
    into: Counter[str] = Counter()
    for (_, fate), count in flows.items():
        into[fate] += count
    second = [Node("True", "kept", into["True"], "kept"), Node("None", "undecided", into["None"])]
    second += [Node(f"reason {name}", _short(name), into[f"reason {name}"], "dropped") for name in reasons]
    first = [Node(name, name, sum(n for (source, _), n in flows.items() if source == name)) for name in SOURCES]
    links = [Link(source.key, fate.key, flows[source.key, fate.key]) for source in first for fate in second]
    return Chart("Texts", charts.sankey([first, second], links, label="what became of the texts"))


def score_charts(found: Iterable[Histogram], threshold: tuple[str, float] | None) -> list[Chart]:
    """A histogram each; the threshold is drawn where it cuts."""
    drawn = []
    for one in found:
        cut = threshold[1] if threshold and threshold[0] == one.judge else None
        label = f"{clean(one.judge)} of {one.source} texts"
        axis = Axis(_short(one.judge), one.low, one.high)
        drawn.append(Chart(label, charts.histogram(axis, one.kept, one.dropped, label=label, threshold=cut)))
    return drawn


def field_charts(found: Iterable[JointHistogram]) -> list[Chart]:
    """A field of two scores each."""
    drawn = []
    for one in found:
        label = f"{clean(one.x)} against {clean(one.y)}, {one.source} texts"
        x, y = (Axis(_short(name), *ends) for name, ends in zip((one.x, one.y), one.ranges, strict=True))
        drawn.append(Chart(label, charts.heat(x, y, one.cells, FIELDS, label=label)))
    return drawn


def length_charts(found: Iterable[Lengths]) -> list[Chart]:
    """A histogram of words each."""
    axis = Axis(f"words ({LONGEST} = that and more)", 0.5, LONGEST + 0.5)
    drawn = []
    for one in found:
        label = f"words of {one.source} texts"
        drawn.append(Chart(label, charts.histogram(axis, one.kept, one.dropped, label=label)))
    return drawn


def _fewer(counts: Counter[str]) -> dict[str, int]:
    """The largest `REASONS`, and the others as one."""
    largest = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:REASONS])
    rest = counts.total() - sum(largest.values())
    return largest | ({OTHER: rest} if rest else {})


def _short(name: str) -> str:
    name = clean(name)
    return name if len(name) <= NAME else f"{name[: NAME - 1]}\u2026"

"""What became of what: a Sankey diagram, columns of nodes joined by bands as wide as what flows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from markupsafe import Markup

from capfilt.charts.axes import WIDTH
from capfilt.charts.svg import figure, tag

THICK: Final = 10.0
"""Width of a node."""

GAP: Final = 22.0
"""Least distance between nodes of a column, so that every label has its line."""

ROOM: Final = 170.0
"""Height of the tallest column without its gaps."""

LABELS: Final = 130.0
"""Room to the right of the last column, for its labels."""

Kind = Literal["kept", "dropped", "plain"]


@dataclass(frozen=True, slots=True)
class Node:
    """A place things sankey through."""

    key: str
    label: str
    value: int
    kind: Kind = "plain"


@dataclass(frozen=True, slots=True)
class Link:
    """How much flows from one node to one of the next column."""

    source: str
    target: str
    value: int


@dataclass(slots=True)
class _Placed:
    """A node with its place; `out` and `into` are where its next bands begin and end."""

    node: Node
    x: float
    y: float
    height: float
    out: float
    into: float


def sankey(columns: Sequence[Sequence[Node]], links: Sequence[Link], *, label: str) -> Markup:
    """Nodes from left to right, in the order given; those of value 0 are left out."""
    full = [[node for node in column if node.value > 0] for column in columns]
    scale = ROOM / max(1, *(sum(node.value for node in column) for column in full))
    step = (WIDTH - LABELS) / max(len(full) - 1, 1)
    placed: dict[str, _Placed] = {}
    for number, column in enumerate(full):
        y = 8.0
        for node in column:
            # One of a million is still a line that can be seen.
            height = max(node.value * scale, 1.5)
            placed[node.key] = _Placed(node, number * step, y, height, y, y)
            y += height + GAP
    bands = [_band(placed[link.source], placed[link.target], link.value * scale) for link in links if link.value > 0]
    nodes = [_node(place) for place in placed.values()]
    height = max((place.y + place.height for place in placed.values()), default=0) + 24
    return figure(WIDTH, height, label, *bands, *nodes)


def _band(source: _Placed, target: _Placed, thick: float) -> Markup:
    left, right = source.x + THICK, target.x
    middle = (left + right) / 2
    a, b = source.out, target.into
    source.out, target.into = a + thick, b + thick
    c, d = b + max(thick, 1), a + max(thick, 1)
    path = f"M{left:.1f} {a:.1f}C{middle:.1f} {a:.1f} {middle:.1f} {b:.1f} {right:.1f} {b:.1f}V{c:.1f}"
    back = f"C{middle:.1f} {c:.1f} {middle:.1f} {d:.1f} {left:.1f} {d:.1f}Z"
    return tag("path", d=path + back, class_=f"band {target.node.kind}")


def _node(place: _Placed) -> Markup:
    node = place.node
    bar = tag("rect", x=place.x, y=place.y, width=THICK, height=place.height, class_=f"node {node.kind}")
    middle = place.y + place.height / 2
    name = tag("tspan", node.label, class_="name")
    count = tag("tspan", f" {node.value:,}", class_="count")
    return bar + tag("text", name, count, x=place.x + THICK + 8, y=middle + 4, class_="sankey")

"""Curves over two axes, distinguished by color and by dashes, with their names above them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from markupsafe import Markup

from capfilt.charts.axes import HEIGHT, TOP, WIDTH, Axis, Frame
from capfilt.charts.svg import figure, tag

LEGEND: Final = 24.0
"""Height of the row of names."""

LETTER: Final = 6.6
"""Width of a letter of it, about."""

LARGEST: Final = 14.0
"""Radius of a disc of weight 1."""

Kind = Literal["first", "second", "third", "fourth"]


@dataclass(frozen=True, slots=True)
class Series:
    """One curve."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    kind: Kind = "first"
    weight: Sequence[float] = ()  # of every point: points are then drawn as discs of that area, and not joined


def lines(
    x: Axis, y: Axis, series: Sequence[Series], *, label: str, diagonal: bool = False, mark: float | None = None
) -> Markup:
    """Curves; `diagonal` draws where x = y, `mark` a line at a threshold."""
    frame = Frame(x, y, TOP + LEGEND)
    parts = [frame.draw()]
    if diagonal:
        ends = {"x1": frame.across(0), "x2": frame.across(1), "y1": frame.up(0), "y2": frame.up(1)}
        parts.append(tag("line", **ends, class_="diagonal"))
    parts += [_discs(frame, one) if one.weight else _curve(frame, one) for one in series]
    if mark is not None and x.low <= mark <= x.high:
        parts.append(frame.threshold(mark))
    return figure(WIDTH, HEIGHT, label, *parts, _legend(series))


def _places(frame: Frame, one: Series) -> list[tuple[float, float]]:
    return [(frame.across(x), frame.up(y)) for x, y in zip(one.x, one.y, strict=True)]


def _curve(frame: Frame, one: Series) -> Markup:
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in _places(frame, one))
    return tag("polyline", points=points, class_=f"curve {one.kind}")


def _discs(frame: Frame, one: Series) -> Markup:
    # The area shows the weight; what weighs next to nothing is still a dot.
    sizes = (max(LARGEST * math.sqrt(weight), 1.5) for weight in one.weight)
    drawn = (
        tag("circle", cx=x, cy=y, r=size, class_=f"disc {one.kind}")
        for (x, y), size in zip(_places(frame, one), sizes, strict=True)
    )
    return Markup("").join(drawn)


def _legend(series: Sequence[Series]) -> Markup:
    """The names in a row, between the label of the y axis and the curves."""
    parts, x = [], 0.0
    for one in series:
        mark = tag("line", x1=x, x2=x + 18, y1=TOP + 3, y2=TOP + 3, class_=f"curve {one.kind}")
        if one.weight:
            mark = tag("circle", cx=x + 9, cy=TOP + 3, r=5.0, class_=f"disc {one.kind}")
        parts += [mark, tag("text", one.name, x=x + 24, y=TOP + 7, class_="legend")]
        x += 24 + LETTER * len(one.name) + 16
    return Markup("").join(parts)

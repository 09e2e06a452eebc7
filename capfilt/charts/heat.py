"""Two scores against each other: the darker a field, the more texts have both."""

import math
from collections.abc import Mapping

from markupsafe import Markup

from capfilt.charts.axes import HEIGHT, WIDTH, Axis, Frame
from capfilt.charts.scale import number
from capfilt.charts.svg import figure, tag

Cells = Mapping[tuple[int, int], int]


def heat(x: Axis, y: Axis, cells: Cells, bins: int, *, label: str) -> Markup:
    """Fields of `bins` x `bins`, as dark as the logarithm of their count.

    Args:
        cells: (bin of x, bin of y) -> count; bins divide the ranges of the axes evenly.
    """
    frame = Frame(x, y)
    most = math.log1p(max(cells.values(), default=1))
    wide, high = (x.high - x.low) / bins, (y.high - y.low) / bins
    parts = [frame.draw()]
    for (column, row), count in sorted(cells.items()):
        left, right = frame.across(x.low + column * wide), frame.across(x.low + (column + 1) * wide)
        top, bottom = frame.up(y.low + (row + 1) * high), frame.up(y.low + row * high)
        # A single text can still be told from none.
        shade = f"{0.15 + 0.85 * math.log1p(count) / most:.2f}"
        place = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        parts.append(tag("rect", tag("title", f"{number(count)} texts"), **place, fill_opacity=shade, class_="cell"))
    return figure(WIDTH, HEIGHT, label, *parts)

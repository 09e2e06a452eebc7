"""How many texts have which score (or length): what is kept stands in front of what is dropped."""

from collections.abc import Sequence

from markupsafe import Markup

from capfilt.charts.axes import HEIGHT, WIDTH, Axis, Frame
from capfilt.charts.scale import number
from capfilt.charts.svg import figure, tag


def histogram(
    x: Axis, kept: Sequence[int], dropped: Sequence[int], *, label: str, threshold: float | None = None
) -> Markup:
    """Stacked bars of equal width over the range of `x`.

    Args:
        kept: counts of every bin; `dropped` likewise, stacked on top.
        threshold: where a line is drawn.
    """
    top = max((a + b for a, b in zip(kept, dropped, strict=True)), default=0)
    frame = Frame(x, Axis("texts", 0, top or 1))
    across, up, width = frame.across, frame.up, (x.high - x.low) / len(kept)
    parts = [frame.draw()]
    for place, (below, above) in enumerate(zip(kept, dropped, strict=True)):
        start = x.low + place * width
        left, right = across(start), across(start + width)
        told = tag(
            "title", f"{x.format(start)} to {x.format(start + width)}: {number(below)} kept, {number(above)} dropped"
        )
        bars = [_bar(left, right, up(0), up(below), "kept"), _bar(left, right, up(below), up(below + above), "dropped")]
        parts.append(tag("g", told, *bars))
    if threshold is not None and x.low <= threshold <= x.high:
        parts.append(frame.threshold(threshold))
    return figure(WIDTH, HEIGHT, label, *parts)


def _bar(left: float, right: float, bottom: float, top: float, kind: str) -> Markup:
    if bottom - top <= 0:
        return Markup("")
    return tag("rect", x=left + 0.5, width=max(right - left - 1, 0.5), y=top, height=bottom - top, class_=kind)

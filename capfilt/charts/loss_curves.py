"""The losses of a training as one chart."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Final

from markupsafe import Markup

from capfilt.charts.axes import Axis
from capfilt.charts.lines import Kind, Series, lines

HOME: Final = "training"
"""The folder, in a model's directory, of what its training left."""
FILE: Final = "losses.svg"
"""The chart's file in that folder."""

Points = Sequence[tuple[float, float]]

_KINDS: Final[tuple[Kind, ...]] = ("first", "second", "third", "fourth")


def loss_chart(losses: Mapping[str, Points]) -> Markup:
    """Curves of (step, loss), one per name, with the last value of each in the legend; names without points are absent.

    Args:
        losses: finite values, in the order of their steps.
    """
    drawn = {name: points for name, points in losses.items() if points}
    series = [
        Series(f"{name} {points[-1][1]:.3f}", [step for step, _ in points], [value for _, value in points], kind)
        for (name, points), kind in zip(drawn.items(), cycle(_KINDS), strict=False)
    ]
    last_step = max((points[-1][0] for points in drawn.values()), default=1)
    largest = max((value for points in drawn.values() for _, value in points), default=1.0) or 1.0
    return lines(Axis("step", 0, last_step), Axis("loss", 0, largest), series, label="losses of the training")

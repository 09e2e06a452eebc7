"""The frame of a chart: two axes with ticks, a grid that does not shout, and labels."""

from dataclasses import dataclass
from typing import Final

from markupsafe import Markup

from capfilt.charts.scale import Format, Scale, number, ticks
from capfilt.charts.svg import tag

WIDTH: Final = 440.0
HEIGHT: Final = 250.0
LEFT, RIGHT, TOP, BOTTOM = 48.0, 12.0, 26.0, 40.0
"""The margins, in units of the drawing: 440 wide, so that a phone shows text of 12 at about 10 pixels."""


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values and what it is called."""

    label: str
    low: float
    high: float
    format: Format = number


@dataclass(frozen=True, slots=True)
class Frame:
    """Where values of two axes are drawn."""

    x: Axis
    y: Axis
    top: float = TOP

    @property
    def across(self) -> Scale:
        return Scale(self.x.low, self.x.high, LEFT, WIDTH - RIGHT)

    @property
    def up(self) -> Scale:
        return Scale(self.y.low, self.y.high, HEIGHT - BOTTOM, self.top)

    def draw(self) -> Markup:
        """Grid, ticks and labels; the chart's own marks are drawn over them."""
        across, up, bottom = self.across, self.up, HEIGHT - BOTTOM
        parts = []
        for value in ticks(self.y.low, self.y.high, 4):
            y = up(value)
            parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
            parts.append(tag("text", self.y.format(value), x=LEFT - 8, y=y + 4, text_anchor="end", class_="tick"))
        for value in ticks(self.x.low, self.x.high, 5):
            x = across(value)
            parts.append(tag("text", self.x.format(value), x=x, y=bottom + 17, text_anchor="middle", class_="tick"))
        parts.append(tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=bottom, y2=bottom, class_="axis"))
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(tag("text", self.x.label, x=middle, y=HEIGHT - 6, text_anchor="middle", class_="label"))
        parts.append(tag("text", self.y.label, x=0.0, y=12.0, class_="label"))
        return Markup("").join(parts)

    def threshold(self, value: float) -> Markup:
        """A line at a value of the x axis, and what it is."""
        x = self.across(value)
        place, anchor = (x - 6, "end") if x > WIDTH - RIGHT - 110 else (x + 6, "start")
        line = tag("line", x1=x, x2=x, y1=self.top, y2=HEIGHT - BOTTOM, class_="threshold")
        words = f"threshold {self.x.format(value)}"
        return line + tag("text", words, x=place, y=self.top + 12, text_anchor=anchor, class_="note")

"""Charts as SVG, for the report and for files: no JavaScript, colors from style sheets, every text escaped."""

from capfilt.charts.axes import Axis
from capfilt.charts.heat import heat
from capfilt.charts.histogram import histogram
from capfilt.charts.lines import Series, lines
from capfilt.charts.sankey import Link, Node, sankey
from capfilt.charts.svg import STYLE, standalone

__all__ = ["STYLE", "Axis", "Link", "Node", "Series", "heat", "histogram", "lines", "sankey", "standalone"]

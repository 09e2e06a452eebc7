"""Charts: well-formed, to scale, and closed to whatever text comes in."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capfilt.charts import Axis, Link, Node, Series, heat, histogram, lines, sankey, standalone
from capfilt.charts.loss_curves import loss_chart
from capfilt.charts.scale import Scale, number, ticks
from capfilt.charts.svg import tag

HOSTILE = "</text><script>alert(1)</script>\"'&"
SVG = "{http://www.w3.org/2000/svg}"
X, Y = Axis(HOSTILE, 0, 1), Axis("y", 0, 1)


def parsed(chart: str) -> ElementTree.Element:
    return ElementTree.fromstring(chart)


def marks(chart: str, kind: str) -> list[ElementTree.Element]:
    return [one for one in parsed(chart).iter() if kind in one.get("class", "").split()]


def test_every_chart_is_well_formed_and_lets_no_text_out() -> None:
    charts = [
        histogram(X, [1, 2], [0, 3], label=HOSTILE, threshold=0.5),
        lines(X, Y, [Series(HOSTILE, [0, 1], [0, 1]), Series("b", [0.5], [0.5], "second", [1.0])], label="l", mark=0.3),
        heat(X, Y, {(0, 0): 1, (3, 2): 100}, 4, label=HOSTILE),
        sankey([[Node("a", HOSTILE, 5)], [Node("b", "b", 5, "kept")]], [Link("a", "b", 5)], label=HOSTILE),
    ]
    for chart in charts:
        root = parsed(chart)
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert not list(root.iter(f"{SVG}script"))
        assert parsed(standalone(chart).decode()).find(f"{SVG}style") is not None


def test_nothing_to_draw_is_no_error() -> None:
    for chart in (
        histogram(X, [0, 0], [0, 0], label="l"),
        lines(X, Y, [], label="l"),
        heat(Axis("x", 2, 2), Y, {}, 4, label="l"),
        sankey([[Node("a", "a", 0)], []], [], label="l"),
    ):
        parsed(chart)


def test_bars_are_as_high_as_their_counts() -> None:
    chart = histogram(X, [10, 0, 5], [0, 20, 5], label="l")
    kept, dropped = ([float(bar.get("height", 0)) for bar in marks(chart, kind)] for kind in ("kept", "dropped"))
    assert kept[0] / kept[1] == pytest.approx(2, rel=0.01)
    assert dropped[0] / kept[0] == pytest.approx(2, rel=0.01)


def test_a_threshold_is_drawn_only_where_it_cuts() -> None:
    (line,) = marks(histogram(X, [1] * 10, [0] * 10, label="l", threshold=0.5), "threshold")
    middle = next(text for text in parsed(histogram(X, [1] * 10, [0] * 10, label="l")).iter() if text.text == "0.4")
    assert float(line.get("x1", 0)) > float(middle.get("x", 0))
    assert not marks(histogram(X, [1], [0], label="l", threshold=7), "threshold")


def test_bands_of_a_flow_fill_their_nodes() -> None:
    """What leaves a node is as thick as the node, and so is what enters one."""
    columns = [[Node("in", "in", 100)], [Node("a", "a", 70), Node("b", "b", 30, "dropped")]]
    chart = sankey(columns, [Link("in", "a", 70), Link("in", "b", 30)], label="l")
    heights = [float(node.get("height", 0)) for node in marks(chart, "node")]
    assert heights[0] == pytest.approx(heights[1] + heights[2], abs=0.05)
    assert heights[1] / heights[2] == pytest.approx(7 / 3, rel=0.01)
    assert len(marks(chart, "band")) == 2


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_and_inside(low: float, width: float) -> None:
    found = ticks(low, low + width)
    assert 1 <= len(found) <= 12
    slack = 1e-6 * (abs(low) + width)
    assert all(low - slack <= tick <= low + width + slack for tick in found)


def test_numbers_are_short() -> None:
    assert [number(value) for value in (0.25, 7, 1200, 12_300, 3_400_000, 2e9)] == [
        "0.25", "7", "1,200", "12.3 k", "3.4 M", "2 G"
    ]  # fmt: skip
    assert Scale(1, 1, 0, 10)(1) == 5


def test_attributes_and_children_are_escaped() -> None:
    assert tag("text", "<b>", class_='"', x=1.5, y=None) == '<text class="&#34;" x="1.5">&lt;b&gt;</text>'


def test_losses_are_curves_with_their_last_values_and_may_be_none() -> None:
    drawn = loss_chart({"itc": [(10, 4.0), (20, 2.0)], "<b>": [(10, 3.0), (20, 1.5)], "none": []})
    assert drawn.count("<polyline") == 2
    assert "itc 2.000" in drawn
    assert "&lt;b&gt; 1.500" in drawn
    assert "none" not in drawn.replace('fill="none"', "")
    assert "<polyline" not in loss_chart({})

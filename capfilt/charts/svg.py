"""Elements of SVG, written so that no text can break out of them."""

from pathlib import Path
from typing import Final

from markupsafe import Markup, escape

STYLE: Final = (Path(__file__).parent / "charts.css").read_text(encoding="utf-8")
"""The style sheet that charts need: classes, no colors but those of its variables."""

Value = str | float | None


def tag(name: str, *children: str, **attributes: Value) -> Markup:
    """An element; attributes that are None are left out, and `class_` is `class`, `text_anchor` is `text-anchor`.

    Children that are not `Markup` are text, and escaped.
    """
    given = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    written = "".join(f' {key}="{escape(_plain(value))}"' for key, value in given)
    inner = Markup("").join(children)
    return Markup(f"<{name}{written}>{inner}</{name}>")


def figure(width: float, height: float, label: str, *children: str) -> Markup:
    """The svg element around a chart.

    Args:
        label: what a screen reader says.
    """
    box = f"0 0 {_plain(width)} {_plain(height)}"
    return tag("svg", *children, xmlns=XMLNS, viewBox=box, class_="chart", role="img", aria_label=label)


XMLNS: Final = "http://www.w3.org/2000/svg"


def standalone(chart: Markup) -> bytes:
    """A chart as a file of its own, with its style sheet."""
    opening, rest = chart.split(">", 1)
    style = tag("style", Markup(f"{STYLE}\nsvg {{ background: var(--paper) }}"))
    return f"{opening}>{style}{rest}\n".encode()


def _plain(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return str(value)

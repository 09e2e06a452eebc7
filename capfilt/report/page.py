"""The page: a template, a style sheet and a script become one file that loads nothing and lets nothing in unescaped."""

import base64
import hashlib
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from capfilt import charts
from capfilt.charts.scale import number
from capfilt.core.formatting import clean, percent, seconds, speed

STATIC: Final = Path(__file__).parent / "static"


def render(page: Path, facts: dict[str, Any], script: Path | None = None) -> str:
    """The page of a template. `facts` are the names that it speaks of.

    The policy in its head allows images that stand in the page itself, and the style sheet and the script whose
    digests it names: even if a text got through as markup, it could neither run nor load anything.
    """
    style = charts.STYLE + (STATIC / "report.css").read_text(encoding="utf-8")
    source = script.read_text(encoding="utf-8") if script else ""
    scripts = f"; script-src '{_digest(source)}'" if source else ""
    allowed = f"img-src data:; style-src '{_digest(style)}'{scripts}"
    security = f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'"
    return template(page).render(**facts, style=Markup(style), script=Markup(source), security=security)


def template(page: Path) -> Template:
    """A template with the filters of all pages; what it is given is escaped."""
    environment = Environment(
        loader=FileSystemLoader(page.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "plain": clean, "count": _count, "short": number, "percent": percent, "seconds": seconds, "speed": speed
    }  # fmt: skip
    return environment.get_template(page.name)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _count(value: int) -> str:
    return f"{value:,}"

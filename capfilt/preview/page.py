"""A check as a page of its own that loads nothing, and as what a notebook shows."""

from pathlib import Path
from typing import Any, Final

from capfilt.preview.check import CheckReport
from capfilt.preview.words import (
    estimate_lines,
    estimate_table,
    hours,
    image_words,
    sample_tables,
    survey_lines,
    survey_tables,
)
from capfilt.report.page import render, template

HERE: Final = Path(__file__).parent


def page(found: CheckReport) -> str:
    """The page."""
    return render(HERE / "page.html", _facts(found))


def fragment(found: CheckReport) -> str:
    """The part of the page that stands below the cell of a notebook: no style, no script."""
    return f"<div>{template(HERE / 'tables.html').render(**_facts(found))}</div>"


def _facts(found: CheckReport) -> dict[str, Any]:
    sample = found.sample
    return {
        "found": found,
        "hours": hours,
        "tables": survey_tables(found.survey),
        "lines": survey_lines(found.survey, found.chunks),
        "shown": [(row, image_words(row, 80)) for row in found.shown],
        "sampled": [*(sample_tables(sample) if sample else []), *_estimates(found)],
        "notes": estimate_lines(found),
    }


def _estimates(found: CheckReport) -> list[Any]:
    return [estimate_table(found.estimate)] if found.estimate else []

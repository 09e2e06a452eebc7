"""Draws docs/images/before-after.svg from the results of table1, and says it in README: `make docs-picture`."""

import json
import re
import statistics
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
RESULTS: Final = ROOT / "tests" / "bench" / "table1" / "results.json"
README: Final = ROOT / "README.md"
PICTURE: Final = ROOT / "docs" / "images" / "before-after.svg"

LEFT, WIDTH, BAR = 250, 430, 22
STYLE: Final = """
    text { font: 15px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2328; }
    .title { font-weight: 600; }
    .note { font-size: 12px; fill: #59636e; }
    .number { font-weight: 600; }
    .track { fill: #59636e; fill-opacity: 0.14; }
    .before { fill: #8c959f; }
    .after { fill: #4f6bed; }
    @media (prefers-color-scheme: dark) {
      text { fill: #f0f6fc; }
      .note { fill: #9198a1; }
      .track { fill: #9198a1; fill-opacity: 0.2; }
      .after { fill: #8ea2ff; }
    }
"""


def mean(book: dict[str, Any], condition: str, measure: str) -> float:
    """The mean over seeds."""
    return statistics.mean(row[measure] for row in book["rows"] if row["condition"] == condition)


def bar(y: int, label: str, share: float, kind: str) -> str:
    length = round(WIDTH * share)
    return (
        f'  <text x="{LEFT - 12}" y="{y + 16}" text-anchor="end">{label}</text>\n'
        f'  <rect class="track" x="{LEFT}" y="{y}" width="{WIDTH}" height="{BAR}" rx="3"/>\n'
        f'  <rect class="{kind}" x="{LEFT}" y="{y}" width="{length}" height="{BAR}" rx="3"/>\n'
        f'  <text class="number" x="{LEFT + WIDTH + 12}" y="{y + 16}">{share * 100:.1f} %</text>\n'
    )


def figures(book: dict[str, Any]) -> tuple[float, float, float, float]:
    """Share of wrong texts before and after, and R@1 of texts before and after."""
    before, after = (1 - mean(book, condition, "texts right") for condition in ("none", "both"))
    weak, strong = (mean(book, condition, "itc_tr_1") for condition in ("none", "both"))
    return before, after, weak, strong


def readme(book: dict[str, Any]) -> str:
    """README with the picture in words."""
    before, after, weak, strong = figures(book)
    words = (
        f"Wrong texts in the corpus fall from {before:.1%} to {after:.1%}; "
        f"retrieval of a model trained on it rises from {weak:.0%} to {strong:.0%}"
    ).replace("%", " %")
    text, count = re.subn(
        r"(!\[)[^]]*(\]\(docs/images/before-after\.svg\))",
        lambda found: f"{found[1]}{words}{found[2]}",
        README.read_text(encoding="utf-8"),
    )
    if count != 1:
        raise ValueError(f"{README.name}: {count} places for the picture")
    return text


def picture(book: dict[str, Any]) -> str:
    """The SVG, for light and dark pages."""
    before, after, weak, strong = figures(book)
    seeds = len({row["seed"] for row in book["rows"]})
    note = (
        f"Means of {seeds} runs on drawn images whose true content is known: {book['settings']['web']:,} web pairs, "
        f"{book['settings']['steps']} training steps."
    )
    parts = [
        '  <text class="title" x="24" y="34">Wrong texts in the corpus</text>\n',
        bar(48, "web texts as they are", before, "before"),
        bar(76, "after capfilt", after, "after"),
        '  <text class="title" x="24" y="140">Image-to-text retrieval (R@1) of a model trained on it</text>\n',
        bar(154, "web texts as they are", weak, "before"),
        bar(182, "after capfilt", strong, "after"),
        f'  <text class="note" x="24" y="234">{note}</text>\n',
    ]
    title = f"Wrong texts fall from {before:.0%} to {after:.0%}; retrieval rises from {weak:.0%} to {strong:.0%}"
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 250" width="780" height="250" role="img">\n'
    return f"{head}  <title>{title}</title>\n  <style>{STYLE}  </style>\n{''.join(parts)}</svg>\n"


if __name__ == "__main__":
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    PICTURE.write_text(picture(results), encoding="utf-8")
    README.write_text(readme(results), encoding="utf-8")

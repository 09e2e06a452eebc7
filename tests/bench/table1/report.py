"""results.json, the table in README.md and the picture results.svg."""

import json
import statistics
from pathlib import Path
from typing import Any

MAIN = ("none", "filter only", "captioner only", "both", "oracle")
CONDITIONS = (*MAIN, "shared", "beam", "round 2", "round 3")
MEASURES = {
    "itc_tr_1": "TR@1",
    "itc_ir_1": "IR@1",
    "exact": "captions exact",
    "right": "captions right",
    "tr_1": "TR@1, ordered by ITM",
    "ir_1": "IR@1, ordered by ITM",
}
MARK = "<!-- results -->"
NEAR = 0.05
"""Of a way that is shorter no share is told: it would be one of chance."""


def load(folder: Path, settings: dict[str, Any]) -> dict[str, Any] | None:
    """What an earlier run of the same settings found."""
    path = folder / "results.json"
    book: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return book if book and book["settings"] == settings else None


def save(folder: Path, book: dict[str, Any]) -> None:
    """Write all three."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(book, indent=1) + "\n", encoding="utf-8")
    (folder / "results.svg").write_text(picture(book), encoding="utf-8")
    if (readme := folder / "README.md").is_file():
        head = readme.read_text(encoding="utf-8").partition(MARK)[0]
        readme.write_text(f"{head}{MARK}\n\n{table(book)}", encoding="utf-8")


def means(book: dict[str, Any], name: str, measure: str) -> list[float]:
    """A measure of a condition, by seed."""
    return [row[measure] for row in book["rows"] if row["condition"] == name and measure in row]


def table(book: dict[str, Any]) -> str:
    """Mean and standard deviation over seeds, in per cent; then what is known of the corpora."""
    names = [name for name in CONDITIONS if means(book, name, "tr_1")]
    heads = ["condition", "seeds", "texts", "of them right", *MEASURES.values()]
    lines = [_line(heads), _line(["---"] * len(heads))]
    for name in names:
        texts, right = means(book, name, "texts"), means(book, name, "texts right")
        cells = [name, str(len(texts)), f"{statistics.mean(texts):.0f}", _cell(right)]
        lines.append(_line([*cells, *(_cell(means(book, name, measure)) for measure in MEASURES)]))
    lines += ["", *_recovered(book), "", *_facts(book, names)]
    lines += ["", f"{book['date']}, {book['machine']}; `{book['command']}`; {_time(book)}."]
    return "\n".join(lines) + "\n"


def _recovered(book: dict[str, Any]) -> list[str]:
    """How much of the way from none to the oracle `both` goes, the claim of this experiment."""
    if not means(book, "oracle", "tr_1"):
        return []
    shares = []
    for measure, name in MEASURES.items():
        none, both, oracle = (statistics.mean(means(book, c, measure)) for c in ("none", "both", "oracle"))
        far = oracle - none > NEAR
        shares.append(f"{name} {100 * (both - none) / (oracle - none):.0f} %" if far else f"{name} -")
    return [f"Of the way from `none` to `oracle`, `both` goes: {', '.join(shares)}."]


def _facts(book: dict[str, Any], names: list[str]) -> list[str]:
    told = ("captions right", "captions exact", "kept web", "kept web right", "kept synthetic", "kept synthetic right")
    told = (*told, "auc web", "auc synthetic", "distinct_2")
    shown = [name for name in names if name in ("both", "shared", "beam", "round 2", "round 3")]
    lines = [_line(["corpus of", *told]), _line(["---"] * (len(told) + 1))]
    return [*lines, *(_line([name, *(_cell(means(book, name, fact)) for fact in told)]) for name in shown)]


def _cell(values: list[float]) -> str:
    spread = f" ± {100 * statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * statistics.mean(values):.1f}{spread}" if values else "-"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _time(book: dict[str, Any]) -> str:
    commits = ", ".join(sorted({row["commit"] for row in book["rows"] if "commit" in row}))
    minutes = sum(row["seconds"] for row in book["rows"]) / 60
    return f"{f'at {commits}; ' if commits else ''}{minutes:.0f} min of pretraining and measuring"


def picture(book: dict[str, Any]) -> str:
    """A bar a condition and measure, a dot a seed."""
    names = [name for name in CONDITIONS if means(book, name, "tr_1")]
    shown = {"itc_tr_1": "#4269d0", "itc_ir_1": "#ff725c", "exact": "#3ca951"}
    width, height, left = 110 * len(names) + 80, 300, 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        y = 250 - 210 * share
        parts.append(f'<line x1="{left}" x2="{width - 10}" y1="{y}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4}" text-anchor="end" fill="#666">{100 * share:.0f} %</text>')
    for place, (measure, colour) in enumerate(shown.items()):
        parts.append(f'<text x="{left + 120 * place}" y="18" fill="{colour}">{MEASURES[measure]}</text>')
        for number, name in enumerate(names):
            values, x = means(book, name, measure), left + 20 + 110 * number + 26 * place
            mean = statistics.mean(values)
            parts.append(
                f'<rect x="{x}" y="{250 - 210 * mean:.1f}" width="22" height="{210 * mean:.1f}" fill="{colour}" '
                'opacity="0.6"/>'
            )
            parts += [f'<circle cx="{x + 11}" cy="{250 - 210 * v:.1f}" r="2.5" fill="#333"/>' for v in values]
    parts += [
        f'<text x="{left + 59 + 110 * number}" y="270" text-anchor="middle" fill="#333">{name}</text>'
        for number, name in enumerate(names)
    ]
    return "\n".join([*parts, "</svg>"]) + "\n"

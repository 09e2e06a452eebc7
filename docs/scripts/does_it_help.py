"""Writes the tables of docs/does-it-help.md and draws its pictures from committed results: `make docs-picture`.

A table stands between `<!-- NAME -->` and `<!-- end of NAME -->`; the prose around it is written by people.
"""

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from markupsafe import Markup
from scipy.special import stdtrit

from capfilt.charts.axes import WIDTH, Axis
from capfilt.charts.lines import Series, lines
from capfilt.charts.svg import figure, standalone, tag

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PAGE: Final = ROOT / "docs" / "does-it-help.md"
IMAGES: Final = ROOT / "docs" / "images"
BENCH: Final = ROOT / "tests" / "bench"

Rows = list[dict[str, Any]]
MAIN: Final = ("human only", "none", "filter only", "captioner only", "both", "oracle")
PAIRS: Final = (
    ("human only", "none"),
    ("both", "none"),
    ("filter only", "none"),
    ("both", "human only"),
    ("both", "filter only"),
    ("both", "captioner only"),
    ("oracle", "both"),
)
DRAWN: Final = {
    "itc_tr_1": "TR@1, ITC",
    "itc_ir_1": "IR@1, ITC",
    "tr_1": "TR@1, ITM",
    "ir_1": "IR@1, ITM",
    "exact": "captions exact",
}
SCARCE: Final = {**DRAWN, "right": "captions right", "kept web": "web texts kept", "kept web right": "right among them"}
PHOTOS: Final = {
    "itc tr@1": "TR@1",
    "itc tr@10": "TR@10",
    "itc ir@1": "IR@1",
    "itc ir@10": "IR@10",
    "cider": "CIDEr-D",
    "bleu4": "BLEU-4",
}
ORDERED: Final = {
    "itc1 tr@1": "TR@1, ITC",
    "itm tr@1": "TR@1, ITM",
    "itc1 ir@1": "IR@1, ITC",
    "itm ir@1": "IR@1, ITM",
    "auc planted itc": "AUC planted, ITC",
    "auc planted itm": "AUC planted, ITM",
    "auc labeled itc": "AUC labeled, ITC",
    "auc labeled itm": "AUC labeled, ITM",
}
KINDS: Final = (
    "right",
    "half a sentence",
    "one word",
    "near miss",
    "another photo's",
    "file name",
    "page phrase",
)
ROW: Final = 24.0
NAMES: Final = 104.0


def values(rows: Rows, condition: str, measure: str) -> dict[int, float]:
    """A measure of a condition, by seed."""
    return {row["seed"]: row[measure] for row in rows if row["condition"] == condition and measure in row}


def difference(rows: Rows, first: str, second: str, measure: str) -> str:
    """first - second in points, seed by seed, with Student's 95 % interval of the mean."""
    one, other = values(rows, first, measure), values(rows, second, measure)
    found = [100 * (one[seed] - other[seed]) for seed in sorted(one.keys() & other.keys())]
    if len(found) < 2:
        return f"{found[0]:+.1f}" if found else "-"
    half = stdtrit(len(found) - 1, 0.975) * statistics.stdev(found) / len(found) ** 0.5
    mean = statistics.mean(found)
    return f"{mean:+.1f} [{mean - half:+.1f}, {mean + half:+.1f}]"


def cell(found: Mapping[int, float]) -> str:
    """Mean and standard deviation over seeds, times 100."""
    spread = f" ± {100 * statistics.stdev(found.values()):.1f}" if len(found) > 1 else ""
    return f"{100 * statistics.mean(found.values()):.1f}{spread}" if found else "-"


def table(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *body))


def measures(rows: Rows, named: Mapping[str, str]) -> str:
    """A line a condition."""
    body = [[name, *(cell(values(rows, name, measure)) for measure in named)] for name in shown(rows, named)]
    return table(["pretrained on", *named.values()], body)


def shown(rows: Rows, named: Mapping[str, str]) -> list[str]:
    return [name for name in MAIN if values(rows, name, next(iter(named)))]


def paired(rows: Rows, named: Mapping[str, str]) -> str:
    """A line a difference."""
    there = shown(rows, named)
    body = [
        [f"{first} - {second}", *(difference(rows, first, second, measure) for measure in named)]
        for first, second in PAIRS
        if {first, second} <= {*there}
    ]
    return table(["difference", *named.values()], body)


def drawn_rows(regime: str = "") -> tuple[Rows, str]:
    """Results of table1, and how they were made; `scarce` is a regime in a folder of its own."""
    book = json.loads((BENCH / "table1" / regime / "results.json").read_text(encoding="utf-8"))
    seeds = len({row["seed"] for row in book["rows"]})
    commits = ", ".join(sorted({row["commit"] for row in book["rows"] if "commit" in row}))
    at = f"at {commits}, " if commits else ""
    return book["rows"], f"{seeds} seeds; {book['date']}, {at}{book['machine']}; `{book['command']}`."


def photo_rows() -> tuple[Rows, str]:
    """Results of table_photos, and how they were made; none yet where there is no file."""
    file = BENCH / "table_photos" / "results.jsonl"
    rows: Rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
    if not rows:
        return [], "No results yet."
    rows = _whole_seeds(rows)
    made, minutes = rows[0]["made"], sum(row["seconds"] for row in rows) / 60
    seeds = len({row["seed"] for row in rows})
    commits = ", ".join(dict.fromkeys(row["made"]["commit"] for row in rows))
    days = " to ".join(sorted({row["made"]["date"] for row in rows}))
    about = f"{seeds} seed{'s' * (seeds > 1)}; {days}, at {commits}, {made['machine']}"
    return rows, f"{about}; `{made['command']}`; {minutes:.0f} minutes by the clock."


def _whole_seeds(rows: Rows) -> Rows:
    """The rows of seeds of which every condition is measured; of all seeds while there is none."""
    conditions = {row["condition"] for row in rows}
    done = {seed: {row["condition"] for row in rows if row["seed"] == seed} for seed in {row["seed"] for row in rows}}
    whole = [row for row in rows if done[row["seed"]] == conditions]
    return whole or rows


def filter_facts(rows: Rows) -> str:
    """What is known of the filter of table_photos."""
    facts = {
        "AUC of planted noise, by ITC": "auc planted itc",
        "AUC of planted noise, by ITM": "auc planted itm",
        "AUC of the labeled pairs, by ITC": "auc labeled itc",
        "AUC of the labeled pairs, by ITM": "auc labeled itm",
        "web texts right": "web right",
        "web texts kept": "kept web",
        "right among them": "kept web right",
        "captions kept": "kept synthetic",
        **{f"kept of: {kind}": f"kept {kind}" for kind in KINDS},
    }
    named = {name: values(rows, "captioner and filter", measure) for name, measure in facts.items()}
    return table(["the filter", "%"], [[name, cell(found)] for name, found in named.items() if found])


def caption_facts(rows: Rows) -> str:
    """Captions of models beside captions without a model."""
    ways = {"the tuned captioner, drawn, on web photos": ("captioner and filter", "captions ")}
    ways |= {name: ("baselines", f"{name} ") for name in ("nearest neighbor", "most frequent caption")}
    ways |= {f"pretrained on {name}": (name, "") for name in MAIN}
    body = [
        [way, *(cell(values(rows, condition, f"{before}{measure}")) for measure in ("cider", "bleu4", "different"))]
        for way, (condition, before) in ways.items()
        if values(rows, condition, f"{before}cider")
    ]
    return table(["captions of", "CIDEr-D", "BLEU-4", "different"], body)


def tables() -> dict[str, str]:
    """What stands between the marks of the page."""
    drawn, about_drawn = drawn_rows()
    scarce, about_scarce = drawn_rows("scarce")
    photos, about_photos = photo_rows()
    found = {
        "scarce": f"{measures(scarce, SCARCE)}\n{about_scarce}\n",
        "drawn": f"{measures(drawn, DRAWN)}\n{about_drawn}\n",
        "drawn, paired": paired(drawn, DRAWN),
        "photos": f"{measures(photos, PHOTOS)}\n{about_photos}\n" if photos else f"{about_photos}\n",
    }
    if photos:
        found |= {"photos, judged": measures(photos, ORDERED), "photos, captions": caption_facts(photos)}
    if len(shown(photos, PHOTOS)) > 1:
        found["photos, paired"] = paired(photos, PHOTOS)
    if any(row["condition"] == "captioner and filter" for row in photos):
        found["photos, filter"] = filter_facts(photos)
    return found


def page() -> str:
    """The page with the tables of today's results."""
    text = PAGE.read_text(encoding="utf-8")
    for name, made in tables().items():
        marks = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end of {re.escape(name)} -->)", re.DOTALL)
        text, count = marks.subn(lambda found, made=made: f"{found[1]}\n{made}\n{found[2]}", text)
        if count != 1:
            raise ValueError(f"{PAGE.name}: {count} places for {name}")
    return text


def bars(rows: Rows, measure: str, label: str, most: float = 1.0) -> Markup:
    """A bar a condition with its mean, a dot a seed; in percent, a full bar being `most`."""
    names = [name for name in MAIN if values(rows, name, measure)]
    scale = (WIDTH - NAMES - 60) / most
    parts = [tag("text", label, x=0.0, y=14.0, class_="legend")]
    for number, name in enumerate(names):
        own, y = values(rows, name, measure), 26 + ROW * number
        mean = statistics.mean(own.values())
        parts += [
            tag("text", name, x=NAMES - 8, y=y + 13, text_anchor="end"),
            tag("rect", x=NAMES, y=y, width=scale * mean, height=ROW - 6, class_="kept", opacity="0.6"),
            *(tag("circle", cx=NAMES + scale * one, cy=y + 9, r=2.5, class_="plain") for one in own.values()),
            tag("text", f"{100 * mean:.1f} %", x=WIDTH, y=y + 13, text_anchor="end"),
        ]
    return figure(WIDTH, 34 + ROW * len(names), label, *parts)


def pictures() -> dict[Path, bytes]:
    """The pictures by file."""
    drawn, photos = drawn_rows()[0], photo_rows()[0]
    found = {
        "drawn-itc.svg": bars(drawn, "itc_tr_1", "Drawn images: R@1 of texts, by ITC"),
        "drawn-itm.svg": bars(drawn, "tr_1", "Drawn images: R@1 of texts, ordered by ITM as in the paper"),
    }
    if len(shown(photos, PHOTOS)) > 1:
        found["photos-itc.svg"] = bars(photos, "itc tr@10", "Photographs: R@10 of texts, by ITC", 0.5)
    curves = [row["curve"] for row in photos if "curve" in row]
    if curves:
        shape: Any = ["first", "second", "third", "fourth"]
        series = [
            Series(f"seed {number}", *map(list, zip(*curve, strict=True)), kind=shape[number % 4])
            for number, curve in enumerate(curves)
        ]
        found["photos-noise.svg"] = lines(
            Axis("share of web texts kept", 0, 1),
            Axis("right among them", 0, 1),
            series,
            label="Right texts among those kept",
        )
    return {IMAGES / name: standalone(chart) for name, chart in found.items()}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    for file, chart in pictures().items():
        file.write_bytes(chart)

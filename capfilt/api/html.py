"""A run as a notebook shows it: counts, the kept share, three examples. Texts are strangers', so they are escaped."""

import html
from typing import Final

from capfilt.core.formatting import clean, percent
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import Status, status

EXAMPLES: Final = 3
MAX_CHARACTERS: Final = 200
"""Of an example's text."""


def run_html(ledger: Ledger) -> str:
    """A small page without scripts; an unfinished run has no examples yet."""
    stand = status(ledger.folder)
    kept = ledger.selection().get("result", {}) if stand.selected else {}
    rows = "".join(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>" for name, value in _facts(stand, kept))
    examples = "".join(_example(image, text) for image, text in _examples(ledger)) if kept else ""
    return f"<div><b>capfilt run</b> {_text(ledger.folder.location)}<table>{rows}</table>{examples}</div>"


def _facts(stand: Status, kept: dict[str, dict[str, int]]) -> list[tuple[str, str]]:
    facts = [
        ("chunks", f"{stand.chunks_done} of {stand.chunks_done + stand.chunks_left}"),
        ("rows", f"{stand.rows_done} of {stand.rows_planned}"),
        ("images", f"{stand.images}"),
        ("failed rows", f"{sum(stand.failures.values())}"),
    ]
    if not kept:
        return facts
    for source in sorted({*kept["kept"], *kept["dropped"]}):
        good, bad = kept["kept"].get(source, 0), kept["dropped"].get(source, 0)
        facts.append((f"{source} texts kept", f"{good} of {good + bad} ({percent(good / (good + bad))})"))
    return facts


def _examples(ledger: Ledger) -> list[tuple[str, str]]:
    """Data URIs of thumbnails, and the best texts; the first images of the corpus by uid."""
    from capfilt.pipelines.query import run_query
    from capfilt.report.thumbnails import thumbnails

    sql = f"SELECT uid, text FROM corpus ORDER BY uid LIMIT {EXAMPLES}"
    texts = {row["uid"]: row["text"] for row in run_query(ledger.folder, sql).to_pylist()}
    drawn = thumbnails(ledger, texts)
    return [(drawn[uid], text) for uid, text in texts.items() if uid in drawn]


def _example(image: str, text: str) -> str:
    shown = text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."
    return (
        '<figure style="display:inline-block;max-width:180px;margin:4px;vertical-align:top">'
        f'<img src="{image}" alt="" style="max-width:100%"><figcaption>{_text(shown)}</figcaption></figure>'
    )


def _text(value: str) -> str:
    return html.escape(clean(value))

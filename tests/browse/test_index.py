"""The index against plain Python over the same rows, and the numbers against what a selection really keeps."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from capfilt.browse.filters import TextFilter
from capfilt.browse.index import PAGE, SHORT, TEXTS, Index, Missing
from capfilt.browse.numbers import ThresholdCounter
from capfilt.core import schema
from capfilt.core.config import SelectSettings
from capfilt.ledger.joined import captions_schema
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.selection.select import select

Row = dict[str, Any]


@pytest.fixture(scope="module")
def index(steady_run: Ledger) -> Index:
    return Index(steady_run, steady_run.records(), SelectSettings())


@pytest.fixture(scope="module")
def rows(steady_run: Ledger) -> list[Row]:
    """Every candidate with its decision, in the order of images/."""
    captions = steady_run.dataset("captions", captions_schema(steady_run)).to_table().to_pylist()
    decisions = steady_run.dataset("decisions", schema.DECISIONS).to_table().to_pylist()
    assert [row["uid"] for row in captions] == [row["uid"] for row in decisions]
    return [caption | decision for caption, decision in zip(captions, decisions, strict=True)]


def uids(index: Index, wanted: TextFilter) -> list[str]:
    """Of all pages."""
    first = index.page(wanted, 0)
    pages = [first, *(index.page(wanted, page) for page in range(1, math.ceil(first["total"] / PAGE)))]
    found = [image["uid"] for page in pages for image in page["images"]]
    assert len(found) == len(set(found)) == first["total"]
    return found


def score(row: Row) -> float:
    """-1 where there is none."""
    value = row["itm"]
    return -1.0 if value is None or math.isnan(value) else value


def kept_by(threshold: float, row: Row) -> bool:
    return bool(row["text"].strip()) and score(row) >= threshold


@pytest.mark.slow
@pytest.mark.parametrize(
    ("wanted", "passes"),
    [
        (TextFilter(), lambda row: True),
        (TextFilter(source="web"), lambda row: row["source"] == "web"),
        (TextFilter(state="kept"), lambda row: row["keep"]),
        (TextFilter(state="dropped"), lambda row: not row["keep"]),
        (TextFilter(judge="itm", t=0.8, state="kept"), lambda row: kept_by(0.8, row)),
        (TextFilter(judge="itm", t=0.8, state="dropped"), lambda row: not kept_by(0.8, row)),
        (TextFilter(reason="flag: empty"), lambda row: row["reason"] == "flag: empty"),
        (TextFilter(reason="itm < 0.5"), lambda row: row["reason"] == "itm < 0.5"),
        (TextFilter(judge="itm", low=0.2, high=0.6), lambda row: 0.2 <= score(row) <= 0.6),
        (TextFilter(q="GREEN thing"), lambda row: "green thing" in row["text"].lower()),
        (TextFilter(q="%"), lambda row: "%" in row["text"]),
        (TextFilter(q="' OR true --"), lambda row: False),
        (
            TextFilter(judge="itm", t=0.5, state="dropped", source="synthetic", low=0.1, q="red"),
            lambda row: row["source"] == "synthetic" and 0.1 <= score(row) < 0.5 and "red" in row["text"],
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, TextFilter) else "rows",
)
def test_a_filter_finds_what_plain_python_finds(
    index: Index, rows: list[Row], wanted: TextFilter, passes: Callable[[Row], bool]
) -> None:
    assert uids(index, wanted) == list(dict.fromkeys(row["uid"] for row in rows if passes(row)))


@pytest.mark.parametrize("sort", ["high", "low", "near"])
def test_images_are_sorted_by_their_texts_that_pass(index: Index, rows: list[Row], sort: str) -> None:
    wanted = TextFilter(judge="itm", t=0.4, sort=sort, source="web")
    scores = {row["uid"]: score(row) for row in rows if row["source"] == "web"}
    found = [scores[uid] for uid in uids(index, wanted)]
    known = [value for value in found if value >= 0]
    order = {"high": lambda s: -s, "low": lambda s: s, "near": lambda s: abs(s - 0.4)}[sort]
    assert known == sorted(known, key=order)
    assert found[len(known) :] == [-1.0, -1.0]  # none and NaN come last


def test_the_texts_that_pass_are_told_apart(index: Index) -> None:
    page = index.page(TextFilter(source="web"), 0)
    hits = {(text["source"], text["hit"]) for image in page["images"] for text in image["texts"]}
    assert hits == {("web", True), ("synthetic", False)}


def test_an_image_shows_some_texts_and_counts_the_others(run: Ledger) -> None:
    index = Index(run, run.records(), SelectSettings())
    index.query(
        "INSERT INTO texts SELECT texts.* REPLACE (n::INTEGER AS candidate)"
        " FROM texts, range(10, 30) r(n) WHERE place = 4"
    )
    image = index.page(TextFilter(), 0)["images"][4]
    assert (len(image["texts"]), image["more"]) == (TEXTS, 2 + 20 + 20 - TEXTS)
    assert len(index.image(4, TextFilter())["texts"]) == 42


def test_a_megabyte_of_text_is_cut(index: Index) -> None:
    text = index.page(TextFilter(), 0)["images"][3]["texts"][0]
    assert (len(text["text"]), text["length"]) == (SHORT, 1_000_000)
    assert len(index.image(3, TextFilter())["texts"][0]["text"]) == 20_000


def test_failures_are_paged_by_reason(index: Index) -> None:
    assert [index.failures(reason, 0)["total"] for reason in ("", "http_404", "timeout", "dns")] == [12, 6, 6, 0]
    assert {row["reason"] for row in index.failures("timeout", 0)["failures"]} == {"timeout"}
    assert index.failures("", 1)["failures"] == []


def test_what_is_not_there_is_missing(index: Index) -> None:
    for ask in (lambda: index.image(10_000, TextFilter()), lambda: index.spot(108), lambda: index.text("nobody", 0)):
        with pytest.raises(Missing):
            ask()


@pytest.mark.slow
@pytest.mark.parametrize("judge", ["itm", "itc"])
def test_the_numbers_are_what_a_selection_keeps(run: Ledger, judge: str) -> None:
    """At places of the slider, at scores themselves, and one float64 beside them."""
    counter = ThresholdCounter(Index(run, run.records(), SelectSettings()))
    scores = run.dataset("captions", captions_schema(run)).to_table()[judge].drop_null().to_numpy()[:4].astype(float)
    slider = counter.slider(judge)
    thresholds = np.concatenate([slider[::500], slider[-1:], scores[:2], np.nextafter(scores[2:], 9)])
    numbers = counter.count(judge, thresholds)
    for place, threshold in enumerate(thresholds):
        settings = SelectSettings(judge=judge, threshold=float(threshold))
        made = select(run.folder, settings, dry_run=True)
        assert {source: kept[place] for source, kept in numbers.kept.items() if kept[place]} == made.kept
        assert numbers.images[place] == made.images


def test_the_slider_spans_all_scores(index: Index) -> None:
    counter = ThresholdCounter(index)
    assert counter.slider("itm").tolist() == [place / 1000 for place in range(1001)]
    other = counter.slider("itc")
    scores = index.query("SELECT min(itc) AS low, max(itc) AS high FROM texts").to_pylist()[0]
    assert other[0] <= scores["low"] < other[1]
    assert other[-2] < scores["high"] <= other[-1]
    assert 500 < len(other) < 1500


def test_flags_of_the_selection_rule_texts_out_of_the_numbers(run: Ledger) -> None:
    settings = SelectSettings(min_words=6, threshold=0.2)
    numbers = ThresholdCounter(Index(run, run.records(), settings)).count("itm", np.array([0.2]))
    made = select(run.folder, settings, dry_run=True)
    assert {source: kept[0] for source, kept in numbers.kept.items()} == made.kept

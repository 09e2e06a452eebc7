"""The numbers of a report against the same numbers counted in plain Python from the tables."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from capfilt.core.storage import Folder
from capfilt.ledger.session import Session
from capfilt.ledger.status import status
from capfilt.report.counts import decided, failures, hosts, kept_images
from capfilt.report.database import ReportDatabase, open_database
from capfilt.report.effort import effort
from capfilt.report.examples import EACH, ReportExample, choose
from capfilt.report.language import distinct, lengths, varieties
from capfilt.report.lookalikes import lookalikes
from capfilt.report.scores import histograms, joint_histograms


@pytest.fixture(scope="module")
def database(plain_run: Path) -> Iterator[ReportDatabase]:
    with open_database(Folder.at(plain_run)) as laid:
        yield laid


@pytest.fixture(scope="module")
def texts(plain_run: Path) -> list[dict[str, Any]]:
    """Captions with their decisions."""
    captions, decisions = (pq.read_table(plain_run / name).to_pylist() for name in ("captions", "decisions"))
    fates = {(d["uid"], d["candidate"]): d for d in decisions}
    return [c | fates[c["uid"], c["candidate"]] for c in captions]


def test_texts_by_source_and_fate(database: ReportDatabase, texts: list[dict[str, Any]]) -> None:
    wanted = Counter((t["source"], t["keep"], t["reason"]) for t in texts)
    assert {(d.source, d.keep, d.reason): d.count for d in decided(database)} == wanted
    assert kept_images(database) == len({t["uid"] for t in texts if t["keep"]})


def test_failures_by_reason_and_host(database: ReportDatabase, plain_run: Path) -> None:
    rows = pq.read_table(plain_run / "failures").to_pylist()
    found = failures(database, status(Folder.at(plain_run)))
    assert {one.reason: one.count for one in found} == Counter(row["reason"] for row in rows)
    assert all(one.url in {row["url"] for row in rows} for one in found)
    assert {one.reason: one.retryable for one in found} == {"http_404": False, "dns": True}
    (host,) = hosts(database)
    assert (host.name, host.failed) == ("example.org", len(rows))
    assert host.rows == len(rows) + pq.read_table(plain_run / "images", columns=["uid"]).num_rows


def test_histograms_count_every_scored_text_once(database: ReportDatabase, texts: list[dict[str, Any]]) -> None:
    found = histograms(database)
    assert [(one.judge, one.source) for one in found] == [
        (judge, source) for judge in ("itm", "clip") for source in ("web", "synthetic")
    ]
    for one in found:
        own = [t for t in texts if t["source"] == one.source]
        assert sum(one.kept) == sum(t["keep"] for t in own)
        assert sum(one.kept) + sum(one.dropped) == len(own)
    web = found[0]
    bins = Counter(min(int(t["itm"] * 40), 39) for t in texts if t["source"] == "web" and t["keep"])
    assert {place: count for place, count in enumerate(web.kept) if count} == bins


def test_a_field_of_two_scores_counts_every_text_once(database: ReportDatabase, texts: list[dict[str, Any]]) -> None:
    web, synthetic = joint_histograms(database)
    assert (web.x, web.y, web.source, synthetic.source) == ("itm", "clip", "web", "synthetic")
    assert sum(web.cells.values()) == sum(t["source"] == "web" for t in texts)


def test_examples_are_the_extremes(database: ReportDatabase, texts: list[dict[str, Any]]) -> None:
    found = choose(database)
    for source in ("web", "synthetic"):
        for keep in (True, False):
            own = sorted(t["itm"] for t in texts if t["source"] == source and t["keep"] is keep)
            sure, unsure = (own[-EACH:], own[:EACH]) if keep else (own[:EACH], own[-EACH:])
            assert scores(found, "sure", source, keep) == pytest.approx(sure)
            assert scores(found, "unsure", source, keep) == pytest.approx(unsure)


def scores(found: list[ReportExample], view: str, source: str, keep: bool) -> list[float]:
    chosen = [e.text for e in found if view in e.views and e.text.source == source and e.text.keep is keep]
    return sorted(text.scores["itm"] or 0 for text in chosen)


def test_judges_disagree_by_rank(database: ReportDatabase, texts: list[dict[str, Any]]) -> None:
    web = [t for t in texts if t["source"] == "web"]
    ranks = [{id(t): n for n, t in enumerate(sorted(web, key=lambda t: t[judge]))} for judge in ("itm", "clip")]
    apart = sorted((abs(ranks[0][id(t)] - ranks[1][id(t)]) for t in web if t["keep"]), reverse=True)[:EACH]
    uids = {(t["uid"], t["candidate"]): abs(ranks[0][id(t)] - ranks[1][id(t)]) for t in web}
    chosen = [e for e in choose(database) if "disagree" in e.views and e.text.source == "web" and e.text.keep]
    assert sorted((uids[e.uid, e.text.candidate] for e in chosen), reverse=True) == apart


def test_an_example_shows_the_other_texts_of_its_image(database: ReportDatabase) -> None:
    for one in choose(database):
        assert [text.source for text in one.beside] == [{"web": "synthetic", "synthetic": "web"}[one.text.source]]
        assert one.more == 0


def test_lookalikes_have_one_hash(database: ReportDatabase, plain_run: Path) -> None:
    hashes = pq.read_table(plain_run / "images", columns=["uid", "phash"]).to_pylist()
    groups = [size for size in Counter(row["phash"] for row in hashes).values() if size > 1]
    found = lookalikes(database)
    assert (found.groups, found.images) == (len(groups), sum(groups))
    phash = {row["uid"]: row["phash"] for row in hashes}
    assert all(len({phash[uid] for uid in uids}) == 1 for _, uids in found.shown)
    assert found.shown[0][0] == max(groups)


def test_lengths_and_variety(database: ReportDatabase, texts: list[dict[str, Any]]) -> None:
    for one in lengths(database):
        own = Counter(len(t["text"].split()) for t in texts if t["source"] == one.source and t["keep"])
        assert {words + 1: count for words, count in enumerate(one.kept) if count} == own
    found = {(one.source, one.which): one for one in varieties(database)}
    words = [t["text"].split() for t in texts if t["source"] == "web"]
    assert found["web", "all"].texts == len(words)
    assert found["web", "all"].distinct_1 == pytest.approx(
        len({w for some in words for w in some}) / sum(map(len, words))
    )
    assert found["web", "kept"].texts == sum(t["keep"] for t in texts if t["source"] == "web")


def test_distinct_n_grams() -> None:
    said = [["a", "dog", "a", "dog"], ["a", "cat"]]
    assert distinct(said, 1) == pytest.approx(3 / 6)
    assert distinct(said, 2) == pytest.approx(3 / 4)
    assert distinct([], 1) == distinct([["one"]], 2) == 0


def test_effort_adds_up_sessions() -> None:
    one = Session("2026-01-01T10:00:00+00:00", "2026-01-01T10:01:00+00:00", 100, {"score": 40.0, "fetch": 10.0})
    two = Session("2026-01-02T10:00:00+00:00", "2026-01-02T10:00:30+00:00", 50, {"score": 20.0, "fetch": 5.0})
    found = effort([one, two])
    assert (found.sessions, found.seconds, found.rows, found.rate) == (2, 90, 150, pytest.approx(150 / 90))
    assert [(stage.name, stage.seconds, stage.rate) for stage in found.stages] == [
        ("fetch", 15, 10),
        ("score", 60, 2.5),
    ]
    assert effort([]).rate is None

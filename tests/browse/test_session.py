"""The session without a server: several hands at once, runs that are not quite whole, odd scores."""

import errno
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from capfilt.browse.app import app
from capfilt.browse.filters import TextFilter
from capfilt.browse.index import Index, Missing
from capfilt.browse.session import BrowseSession
from capfilt.core.config import SelectSettings
from capfilt.core.errors import BusyError, InputError, IntegrityError
from capfilt.core.serialization import parquet_bytes
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.calibration.marks import MarkBook, read_labels
from capfilt.pipelines.forget.forget import forget
from capfilt.pipelines.selection.select import select, settings_for
from capfilt.pipelines.stages.tombstones import Tombstones


@pytest.fixture
def session(run: Ledger) -> BrowseSession:
    return BrowseSession(run)


@pytest.mark.slow
def test_many_marks_at_once_are_all_kept(session: BrowseSession, run: Ledger) -> None:
    wanted = [image["uid"] for image in session.index.page(TextFilter(), 0)["images"]]
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda uid: session.mark(uid, 0, True), wanted))
    assert set(read_labels(run.folder)["uid"].to_pylist()) == set(wanted)
    assert len(session.marks()) == len(wanted)


@pytest.mark.slow
def test_a_run_without_a_selection_can_be_looked_at(tmp_path: Path, make_run: Callable[..., Ledger]) -> None:
    run = make_run(str(tmp_path / "out"), threshold=None)
    session = BrowseSession(run)
    assert session.facts()["selection"] is None
    assert session.index.page(TextFilter(), 0)["images"][0]["texts"][0]["keep"] is None
    session.select("first", "itc", 0.1)
    assert session.facts()["selection"] == {"name": "first", "policy": "blip"}
    assert run.selection()["parameters"]["judge"] == "itc"


def test_flags_of_the_selection_stay_and_its_mix_does_not(run: Ledger) -> None:
    other = ("select.policy=quantile", "select.min_words=6", "select.synthetic_share=0.2")
    select(run.folder, settings_for(run, overrides=other))
    session = BrowseSession(run)
    numbers = session.numbers(TextFilter(judge="itm", t=0.3))
    made = session.select("mine", "itm", 0.3)
    assert made["kept"] == {source: kept[0] for source, kept in numbers["kept"].items()}
    chosen = run.selection()
    assert (chosen["policy"], chosen["parameters"]["min_words"], chosen["parameters"]["synthetic_share"]) == (
        "blip",
        6,
        -1,
    )


def test_a_selection_that_stands_is_shown_under_its_own_policy(run: Ledger) -> None:
    select(run.folder, settings_for(run, overrides=("select.policy=quantile", "select.fraction=0.5")), name="half")
    session = BrowseSession(run)
    facts = session.facts()
    kept = sum(text["shown"] for image in session.index.page(TextFilter(), 0)["images"] for text in image["texts"])
    assert facts["selection"] == {"name": "half", "policy": "quantile"}
    assert facts["kept"] == run.selection()["result"]["kept"]
    assert 0 < kept < sum(facts["kept"].values())


def test_infinite_and_missing_scores_can_be_told(run: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "captions/000000.parquet"
    table = pq.read_table(run.folder.full(name))
    scores = pa.array([float("inf"), float("-inf"), *table["itm"].to_pylist()[2:]], pa.float32())
    run.folder.write(name, parquet_bytes(table.set_column(table.schema.get_field_index("itm"), "itm", scores)))
    monkeypatch.setattr(Ledger, "balance", lambda *_: None)  # sizes are no longer the committed ones
    session = BrowseSession(run)
    page = session.index.page(TextFilter(judge="itm", t=0.5, sort="near"), 0)
    found = {
        text["scores"]["itm"] for image in session.index.page(TextFilter(), 0)["images"] for text in image["texts"]
    }
    assert {min(found - {None}), max(found - {None})} == {-1.7976931348623157e308, 1.7976931348623157e308}
    assert page["total"] == 108
    assert len(session.numbers(TextFilter(judge="itm"))["thresholds"]) == 1001


def test_a_run_that_does_not_fit_together_is_refused(run: Ledger) -> None:
    run.folder.delete("captions/000001.parquet")
    with pytest.raises(IntegrityError, match="captions/000001"):
        BrowseSession(run)


def test_a_run_that_grows_while_it_is_read_is_refused(run: Ledger) -> None:
    with pytest.raises(BusyError, match="try again"):
        Index(run, run.records().slice(1), SelectSettings())


def test_a_picture_that_was_taken_out_is_not_mistaken_for_its_neighbour(session: BrowseSession, run: Ledger) -> None:
    """As `capfilt forget` rewrites a chunk while it is looked at."""
    name = "images/000001.parquet"
    table = pq.read_table(run.folder.full(name))
    run.folder.write(name, parquet_bytes(table.slice(1), images=True))
    assert session.index.spot(36).uid == table["uid"][0].as_py()
    with pytest.raises(Missing):
        session.picture(36, 320)
    assert session.picture(37, 320)


def test_a_picture_without_bytes_is_missing(session: BrowseSession, run: Ledger) -> None:
    name = "images/000000.parquet"
    table = pq.read_table(run.folder.full(name))
    paths = table["image"].combine_chunks().field("path")
    image = pa.StructArray.from_arrays([pa.nulls(len(paths), pa.binary()), paths], ["bytes", "path"])
    table = table.set_column(table.schema.get_field_index("image"), "image", image)
    run.folder.write(name, parquet_bytes(table, images=True))
    with pytest.raises(Missing):
        session.picture(0, 320)


def test_a_run_that_is_worked_on_is_not_selected(session: BrowseSession, run: Ledger) -> None:
    with run.lock(), pytest.raises(BusyError, match="is being written by"):
        session.select("a", "itm", 0.7)
    assert session.facts()["selection"] == {"name": "", "policy": "blip"}
    assert run.selections() == []


def test_marks_of_another_session_are_found(session: BrowseSession, run: Ledger) -> None:
    uid = session.index.spot(7).uid
    session.mark(uid, 0, False)
    other = BrowseSession(run)
    assert [(mark["place"], mark["right"]) for mark in other.marks()] == [(7, False)]
    assert other.index.page(TextFilter(mark="wrong"), 0)["images"][0]["uid"] == uid


def test_where_there_is_no_run_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run here"):
        BrowseSession(Ledger.at(tmp_path / "nothing"))


def test_an_open_page_honors_forget(session: BrowseSession, run: Ledger) -> None:
    before = session.index.page(TextFilter(), 0)["images"]
    gone, stays = before[0], before[2]
    session.mark(gone["uid"], 0, True)
    session.picture(gone["place"], 320)
    forget(run.folder, [("uid", gone["uid"])])
    session.honor_forget()
    now = session.index.page(TextFilter(), 0)["images"]
    assert gone["uid"] not in {image["uid"] for image in now}
    assert stays in now  # at its place
    assert session.picture(stays["place"], 320)
    assert session.marks() == []
    assert session.facts()["current"]
    for ask in (
        lambda: session.picture(gone["place"], 320),
        lambda: session.index.image(gone["place"], TextFilter()),
        lambda: session.mark(gone["uid"], 0, True),
    ):
        with pytest.raises(Missing):
            ask()
    assert read_labels(run.folder).num_rows == 0


def test_while_rows_are_being_forgotten_nothing_is_shown(session: BrowseSession, run: Ledger) -> None:
    Tombstones(key="00" * 16, before="as it was").write(run.folder)
    with pytest.raises(BusyError, match="being forgotten"):
        session.honor_forget()


def test_a_mark_that_is_made_while_rows_are_forgotten_is_gone_with_them(
    session: BrowseSession, run: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, stays = session.index.spot(0).uid, session.index.spot(2).uid
    session.mark(stays, 0, True)
    write = MarkBook.mark

    def forget_first(book: MarkBook, uid: str, *more: Any) -> None:
        forget(run.folder, [("uid", uid)])
        write(book, uid, *more)

    monkeypatch.setattr(MarkBook, "mark", forget_first)
    with pytest.raises(Missing):
        session.mark(gone, 0, False)
    assert read_labels(run.folder)["uid"].to_pylist() == [stays]
    assert {mark["place"] for mark in session.marks()} == {2}


def test_a_mark_that_is_made_in_the_middle_of_a_forget_is_taken_back(
    session: BrowseSession, run: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, write = session.index.spot(0).uid, MarkBook.mark

    def in_the_middle(book: MarkBook, uid: str, *more: Any) -> None:
        stones = Tombstones(key="00" * 16, before="as it was")
        replace(stones, pending=frozenset({stones.hash("uid", uid)})).write(run.folder)
        write(book, uid, *more)

    monkeypatch.setattr(MarkBook, "mark", in_the_middle)
    with pytest.raises(BusyError, match="being forgotten"):
        session.mark(gone, 0, True)
    assert read_labels(run.folder).num_rows == 0


def test_a_full_disk_is_a_line_on_the_page(session: BrowseSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "marks/a.parquet")

    monkeypatch.setattr(MarkBook, "mark", full)
    page = TestClient(app(session, "key"), base_url="http://127.0.0.1")
    answer = page.post("/key/api/marks", json={"uid": session.index.spot(0).uid, "candidate": 0, "right": True})
    assert (answer.status_code, answer.json()) == (
        507,
        {"error": "[Errno 28] No space left on device: 'marks/a.parquet'"},
    )

"""A chunk opened again and closed again, stage by stage, without Ray."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.core.config import DecodeSettings, FetchSettings, Recipe
from capfilt.core.errors import IntegrityError
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.transaction import replay_pending
from capfilt.pipelines.forget.forget import forget
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.stages.caption import caption
from capfilt.pipelines.stages.commit import commit
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.fetch import fetch
from capfilt.pipelines.stages.read import read
from capfilt.pipelines.stages.retry_rows import KEPT, recommit, reopen
from ill_site import Site

FETCH = FetchSettings(allow_private=("127.0.0.0/8",), ports=(), retries=0, per_host_rate=0, give_up=0, backoff=0)
TABLES = ("images", "captions", "failures", "commits")


class Run:
    """One planned chunk of twelve pictures and a missing one, without models."""

    def __init__(self, out: Path, urls: Path) -> None:
        recipe: Recipe = load_recipe("blip", ("caption.n=0",))
        plan = make_plan([str(urls)], recipe.input)
        self.ledger = Ledger.at(out)
        inputs = [(file.identity, file.size, file.sha256) for file in plan.inputs]
        self.ledger.write_plan(plan.chunks, inputs, recipe, {}, {})
        [self.chunk] = plan.chunks
        self.folder = self.ledger.folder
        self.digest = self.ledger.spec_digest(self.chunk)

    def stages(self, rows: pa.Table) -> pa.Table:
        return caption(decode(fetch(rows, FETCH), DecodeSettings(isolate=False)), (), load_recipe().caption)

    def first(self) -> None:
        commit(self.stages(read(self.chunk)), self.chunk, self.folder, self.digest)
        self.ledger.verify()

    def again(self, *reasons: str) -> dict[str, Any]:
        rows = reopen(self.chunk, self.folder, reasons)
        record: dict[str, Any] = recommit(self.stages(rows), self.chunk, self.folder, self.digest).to_pylist()[0]
        replay_pending(self.folder)
        self.ledger.verify()
        return record

    def bytes(self) -> dict[str, bytes]:
        return {name: self.folder.read(f"{name}/{self.chunk.name}.parquet") for name in TABLES}


@pytest.fixture
def start(tmp_path: Path, site: Site, url_list: Callable[[Site, int], Path]) -> Callable[[str], Run]:
    urls = url_list(site, 12)
    return lambda name: Run(tmp_path / name, urls)


def test_what_heals_makes_the_files_of_a_run_that_never_failed(site: Site, start: Callable[[str], Run]) -> None:
    whole = start("whole")
    whole.first()
    site.ill = {2: 500, 3: 503, 11: 500, 5: 429}
    run = start("ill")
    run.first()
    assert run.bytes() != whole.bytes()
    site.ill = {}
    site.asked.clear()
    assert run.again("http_5xx", "http_429")["reasons"] == [("http_404", 1)]
    assert run.bytes() == whole.bytes()
    assert site.asked == {2: 1, 3: 1, 5: 1, 11: 1}


def test_only_the_reasons_asked_for_are_tried(site: Site, start: Callable[[str], Run]) -> None:
    site.ill = {2: 500, 5: 429}
    run = start("ill")
    run.first()
    site.ill, before = {}, run.bytes()
    site.asked.clear()
    rows = reopen(run.chunk, run.folder, {"http_429"}).to_pylist()
    assert [row["reason"] for row in rows] == [None if n == 5 else KEPT for n in range(13)]
    assert dict(run.again("http_429")["reasons"]) == {"http_404": 1, "http_5xx": 1}
    assert site.asked == {5: 1}
    old, new = (pq.read_table(pa.BufferReader(data["failures"])).to_pylist() for data in (before, run.bytes()))
    assert new == [row for row in old if row["reason"] != "http_429"]


def test_what_fails_anew_says_so(site: Site, start: Callable[[str], Run]) -> None:
    site.ill = {2: 500, 5: 500}
    run = start("ill")
    run.first()
    site.ill = {2: 403}
    record = run.again("http_5xx")
    assert dict(record["reasons"]) == {"http_404": 1, "http_403": 1}
    failures = pq.read_table(pa.BufferReader(run.bytes()["failures"])).to_pylist()
    assert [(row["reason"], row["retryable"]) for row in failures] == [("http_403", False), ("http_404", False)]


def test_nothing_heals_and_nothing_changes(site: Site, start: Callable[[str], Run]) -> None:
    site.ill = {2: 500}
    run = start("ill")
    run.first()
    before = run.bytes()
    run.again("http_5xx")
    assert run.bytes() == before


def test_a_whole_chunk_can_heal(site: Site, start: Callable[[str], Run]) -> None:
    whole = start("whole")
    whole.first()
    site.ill = dict.fromkeys(range(12), 500)
    run = start("ill")
    run.first()
    site.ill = {}
    run.again("http_5xx")
    assert run.bytes() == whole.bytes()


def test_files_that_are_not_the_committed_ones_are_not_built_upon(site: Site, start: Callable[[str], Run]) -> None:
    site.ill = {2: 500}
    run = start("ill")
    run.first()
    name = f"captions/{run.chunk.name}.parquet"
    run.folder.write(name, run.folder.read(name)[:-1])
    with pytest.raises(IntegrityError, match="its bytes are not the committed ones"):
        reopen(run.chunk, run.folder, {"http_5xx"})


def test_an_input_that_has_changed_is_not_mixed_in(site: Site, start: Callable[[str], Run], tmp_path: Path) -> None:
    site.ill = {2: 500}
    run = start("ill")
    run.first()
    urls = tmp_path / "urls.tsv"
    urls.write_text(urls.read_text().replace("/2.jpg", "/9.jpg"))
    with pytest.raises(IntegrityError, match="was never committed: the input has changed"):
        reopen(run.chunk, run.folder, {"http_5xx"})


def test_a_row_that_gets_lost_on_the_way_is_noticed(site: Site, start: Callable[[str], Run]) -> None:
    site.ill = {2: 500}
    run = start("ill")
    run.first()
    rows = run.stages(reopen(run.chunk, run.folder, {"http_5xx"}))
    with pytest.raises(IntegrityError, match="12 rows, expected 13"):
        recommit(rows.slice(1), run.chunk, run.folder, run.digest)


def test_forgotten_rows_stay_forgotten(site: Site, start: Callable[[str], Run]) -> None:
    site.ill = {2: 500, 3: 500}
    run = start("ill")
    run.first()
    forget(run.folder, [("url", f"{site.url}/2.jpg"), ("url", f"{site.url}/7.jpg")])
    site.ill = {}
    site.asked.clear()
    assert dict(run.again("http_5xx")["reasons"]) == {"forgotten": 2, "http_404": 1}
    assert site.asked == {3: 1}
    assert all(f"{n}.jpg" not in str(pq.read_table(pa.BufferReader(run.bytes()["failures"]))) for n in (2, 7))

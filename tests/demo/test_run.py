"""The whole demo on a small site, through Ray, with random weights: what it writes and that its numbers add up."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from capfilt.cli.runs import demo as demo_command
from capfilt.commands.progress import RunProgress
from capfilt.core.config import Recipe
from capfilt.core.storage import Folder
from capfilt.demo.runner import DemoResult, demo
from capfilt.demo.world import is_right
from capfilt.demo.world.site import pages
from capfilt.ledger.status import status
from capfilt.pipelines.query import run_query

pytestmark = pytest.mark.ray

IMAGES, SEED = 60, 4


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "out"


@pytest.fixture(scope="module")
def heard() -> list[RunProgress]:
    return []


@pytest.fixture(scope="module")
def result(out: Path, model: Recipe, heard: list[RunProgress]) -> DemoResult:
    return demo(out, IMAGES, SEED, recipe=model, listener=heard.append)


def test_every_row_became_what_the_site_made_of_it(out: Path, result: DemoResult) -> None:
    summary = result.summary
    assert summary.rows == IMAGES == summary.images + sum(summary.failures.values())
    assert summary.failures == dict.fromkeys(("http_404", "not_an_image", "opt_out", "timeout", "truncated"), 1)
    stand = status(Folder.at(out))
    assert (stand.complete, stand.balanced, stand.selected) == (True, True, True)


def test_texts_are_accounted_for(out: Path, result: DemoResult) -> None:
    summary = result.summary
    for texts in (summary.web, summary.synthetic):
        assert texts.total == summary.images == texts.kept + texts.dropped
    assert summary.web.wrong == sum(
        not page.row.right for page in pages(IMAGES, SEED) if page.trouble in ("none", "slow", "flaky", "copy")
    )
    selection = result.outcome.selection
    assert selection.kept.get("web", 0) == summary.web.kept
    assert selection.images == summary.corpus
    assert json.loads((out / "demo.json").read_text()) == summary.to_dict()


def test_the_truth_stands_beside_the_corpus(out: Path, result: DemoResult) -> None:
    truth = pq.read_table(out / "truth.parquet").to_pylist()
    uids = run_query(Folder.at(out), "SELECT uid FROM images UNION ALL SELECT uid FROM failures")["uid"].to_pylist()
    assert sorted(row["uid"] for row in truth) == sorted(uids)
    assert all(is_right(row["text"], row["text"]) for row in truth)
    web = run_query(Folder.at(out), "SELECT uid, text FROM captions WHERE source = 'web'").to_pylist()
    right = {row["uid"]: row["web_right"] for row in truth}
    facts = {row["uid"]: row["text"] for row in truth}
    assert all(is_right(row["text"], facts[row["uid"]]) == right[row["uid"]] for row in web)


def test_copies_are_the_same_picture_twice(out: Path, result: DemoResult) -> None:
    sql = "SELECT sha256 FROM images GROUP BY sha256 HAVING count(*) = 2"
    assert run_query(Folder.at(out), sql).num_rows == 1


def test_progress_is_told(result: DemoResult, heard: list[RunProgress]) -> None:
    phases = [progress.phase for progress in heard]
    assert phases[:3] == ["plan", "planned", "start"]
    assert phases[-1] == "done"
    last = [progress for progress in heard if progress.phase == "work"][-1]
    assert (last.rows_done, last.rows_planned, sum(last.failures.values())) == (IMAGES, IMAGES, 5)


def test_again_there_is_nothing_to_do(out: Path, result: DemoResult, model: Recipe) -> None:
    before = {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    again = demo(out, IMAGES, SEED, recipe=model)
    assert again.outcome.chunks_now == 0
    assert again.summary == result.summary
    assert {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()} == before


def test_the_final_screen(out: Path, result: DemoResult, capsys: pytest.CaptureFixture[str]) -> None:
    demo_command.report(out, result)
    told = capsys.readouterr().out
    for part in (
        "1 of 1 chunks done in",
        "rows in",
        "http_404",
        "wrong among kept",
        "wrong texts: ",
        "corpus: ",
        "try: ",
    ):
        assert part in told
    assert max(len(line) for line in told.splitlines() if not line.startswith(("corpus:", "try:"))) <= 80

"""Runs that an older version wrote still open, select, export and resume, without conversion.

`fixtures/run-0.1.0/` was written by the code at 9082b1f: `in/` holds 36 drawn pictures with web texts, one of them cut
and one no picture; `complete/` is a whole run with a second selection and duplicates, `interrupted/` one whose driver
was killed after two of six chunks. The commands were, in the folder above `in/`:

    capfilt run in --out complete --recipe blip --set caption.n=1 --set caption.captioner=demo-captioner \
        --set 'score.judges=["demo-filter"]' --set input.chunk_rows=12
    capfilt select complete --set select.threshold=0.7 --name strict
    capfilt dedup complete
"""

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from command_line import invoke

OLD = Path(__file__).parent / "fixtures" / "run-0.1.0"
SETTINGS = (
    "caption.n=1",
    "caption.captioner=demo-captioner",
    'score.judges=["demo-filter"]',
    "input.chunk_rows=6",
    "engine.kind=local",
)


def capfilt(*arguments: object) -> str:
    """What a command prints; it must succeed."""
    result = invoke(*[str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the fixture that a test may write into."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def test_status_of_an_old_run_is_complete_and_balanced(old: Path) -> None:
    answer = capfilt("status", old / "complete")
    assert "complete: yes" in answer
    assert "balanced: yes" in answer


def test_query_reads_the_scores_of_an_old_run(old: Path) -> None:
    answer = capfilt("query", old / "complete", "SELECT count(*), round(sum(itm), 3) FROM captions", "--format", "csv")
    assert "68,45.795" in answer
    duplicates = capfilt("query", old / "complete", "SELECT count(*) FROM duplicates", "--format", "csv")
    assert duplicates.split()[-1].isdigit()


def test_select_decides_again_as_the_older_version_did(old: Path) -> None:
    before = pq.read_table(old / "complete" / "decisions")
    strict = pq.read_table(old / "complete" / "selections" / "strict" / "decisions")
    shutil.rmtree(old / "complete" / "decisions")
    capfilt("select", old / "complete")
    capfilt("select", old / "complete", "--set", "select.threshold=0.7", "--name", "again")
    assert pq.read_table(old / "complete" / "decisions").equals(before)
    assert pq.read_table(old / "complete" / "selections" / "again" / "decisions").equals(strict)


@pytest.mark.slow
def test_report_export_and_forget_work_on_an_old_run(old: Path) -> None:
    run = old / "complete"
    capfilt("report", run)
    assert (run / "report.html").stat().st_size > 20_000
    capfilt("export", run, "--to", old / "web", "--format", "webdataset")
    assert list((old / "web").rglob("*.tar"))
    uid = pq.read_table(run / "images").column("uid")[0].as_py()
    capfilt("forget", run, "--uid", uid)
    assert uid not in pq.read_table(run / "images").column("uid").to_pylist()


def test_an_interrupted_old_run_resumes(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(old)
    done = {path.name: path.read_bytes() for path in (old / "interrupted" / "commits").iterdir()}
    assert len(done) == 2
    capfilt("run", "in", "--out", "interrupted", *(word for value in SETTINGS for word in ("--set", value)))
    assert all((old / "interrupted" / "commits" / name).read_bytes() == data for name, data in done.items())
    whole, resumed = (pq.read_table(old / run / "captions") for run in ("complete", "interrupted"))
    then = [name for name in whole.column_names if name not in ("logprob", "itm", "itc", "box")]  # 0.1 had no boxes
    assert sorted(map(str, resumed.select(then).to_pylist())) == sorted(map(str, whole.select(then).to_pylist()))

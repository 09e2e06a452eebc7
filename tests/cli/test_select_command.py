"""`capfilt select`: what it prints, writes and refuses."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from capfilt.ledger.ledger import Ledger
from command_line import invoke


def select(*arguments: str | Path) -> Result:
    return invoke("select", *arguments)


def table(stdout: str, title: str) -> dict[str, list[str]]:
    """A printed table: first cell of a row -> the others."""
    (_, rest) = stdout.split(f"\n{title} ", 1)
    lines = rest.split("\n\n", 1)[0].splitlines()[2:]
    return {cells[0]: cells[1:] for line in lines if (cells := re.split(r"\s{2,}", line.strip()))}


def tree(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, which a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def test_it_prints_what_changes_and_why(out: Path) -> None:
    result = select(out, "--set", "select.threshold=0.75")
    assert result.exit_code == 0
    assert max(len(line) for line in result.stdout.splitlines() if not line.startswith("corpus: ")) <= 80
    assert table(result.stdout, "texts kept") == {
        "synthetic": ["6", "0", "4", "2"],
        "web": ["3", "0", "1", "2"],
        "any": ["9", "0", "5", "4"],
    }
    assert table(result.stdout, "images with")["any"] == ["7", "0", "5", "2"]
    assert table(result.stdout, "wrong, by itm")["web"] == ["20.0 %", "10.0 %"]
    assert "the mean of 1 - itm over kept texts" in result.stdout
    assert "not a measurement" in result.stdout
    assert result.stdout.count("itm < 0.75") == 5
    assert f"corpus: {out}/corpus/*.parquet (2 images)" in result.stdout


def test_texts_of_strangers_are_escaped(out: Path) -> None:
    told = select(out, "--set", "select.threshold=0.95").stdout + select(out, "--set", "select.threshold=0.5").stdout
    assert told.count(r"\x1b[2J\x1b[31mred") == 2
    assert "\x1b" not in told
    assert "\u202e" not in told


def test_a_dry_run_says_so_and_writes_nothing(out: Path) -> None:
    before = tree(out)
    result = select(out, "--set", "select.threshold=0.75", "--name", "strict", "--dry-run")
    assert result.exit_code == 0
    assert table(result.stdout, "texts kept")["any"] == ["9", "0", "5", "4"]
    assert result.stdout.endswith("dry run: nothing written; corpus/ would hold 2 images\n")
    assert tree(out) == before


def test_names_come_back(out: Path) -> None:
    select(out, "--name", "paper")
    select(out, "--name", "strict", "--set", "select.threshold=0.75")
    wanted = tree(out / "corpus")
    back = select(out, "--name", "paper")
    assert table(back.stdout, "texts kept")["any"] == ["4", "5", "0", "9"]
    assert "this is the current selection" in select(out, "--name", "paper").stdout
    select(out, "--name", "strict")
    assert tree(out / "corpus") == wanted
    assert Ledger.at(out).selection()["name"] == "strict"


def test_a_recipe_and_a_policy_of_ones_own(out: Path, tmp_path: Path) -> None:
    (tmp_path / "own.sql").write_text(
        "SELECT uid, candidate, source = 'web' AS keep, CASE WHEN source = 'web' THEN 1 END AS rank, '' AS reason"
        " FROM captions"
    )
    (tmp_path / "own.toml").write_text(f"[select]\npolicy = '{tmp_path}/own.sql'\n")
    result = select(out, "--recipe", tmp_path / "own.toml")
    assert table(result.stdout, "texts kept")["web"][-1] == "7"
    assert table(result.stdout, "texts kept")["synthetic"][-1] == "0"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--recipe", "nope"], "recipe 'nope' is not known"),
        (["--set", "caption.n=3"], "--set 'caption.n=3': only settings of [select] can change"),
        (
            ["--set", "select.policy=nope"],
            "select.policy = 'nope' is neither a .sql file nor one of: all, balance",
        ),
        (["--set", "select.policy=blip2"], "policy blip2: select.first: there is no 'clip'; scores of this run: itm"),
        (["--set", "select.judge=itc"], "policy blip: select.judge: there is no 'itc'; scores of this run: itm"),
        (["--set", "select.fraction=2"], "select.fraction = 2"),
        (["--set", "select.calibrated=true"], "select.calibrated: "),
        (["--name", "../x"], "--name '../x': "),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(out: Path, arguments: list[str], line: str) -> None:
    before = {name: data for name, data in tree(out).items() if name != ".lock"}
    result = select(out, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert line in result.stderr
    assert result.stderr.count("\n") == 1
    assert {name: data for name, data in tree(out).items() if name != ".lock"} == before


def test_where_no_run_is(tmp_path: Path) -> None:
    result = select(tmp_path / "nowhere")
    assert (result.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "no run here" in result.stderr


def test_a_busy_run_is_left_alone(out: Path) -> None:
    with Ledger.at(out).lock():
        result = select(out, "--set", "select.threshold=0.75")
        looked = select(out, "--set", "select.threshold=0.75", "--dry-run")
    assert result.exit_code == 2
    assert "is being written by process" in result.stderr
    assert looked.exit_code == 0


@pytest.mark.slow
def test_no_model_and_no_engine_is_loaded(out: Path) -> None:
    code = (
        "import sys\nfrom capfilt.cli import app\n"
        f"try:\n    app(['select', {str(out)!r}, '--set', 'select.threshold=0.75'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'ray', 'transformers', 'sklearn') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "[]\n"


@pytest.mark.slow
def test_pictures_are_not_looked_at_to_decide(out: Path, capfilt: Callable[..., Any]) -> None:
    for path in (out / "images").iterdir():
        path.write_bytes(b"no Parquet at all")
    assert capfilt("select", out, "--set", "select.threshold=0.75", "--dry-run").returncode == 0
    assert capfilt("select", out, "--set", "select.threshold=0.51").returncode == 0  # the same texts, other reasons


def test_a_run_whose_judges_do_not_fit_its_policy_is_refused_before_any_work(tmp_path: Path) -> None:
    arguments = ["run", str(tmp_path / "x.csv"), "--out", str(tmp_path / "out"), "--set", "select.policy=blip2"]
    result = invoke(*arguments)
    assert result.exit_code == 2
    line = "error: policy blip2: select.first: there is no 'clip'; scores of this run: itm, itc"
    assert result.stderr.splitlines()[-1] == line
    assert not list(tmp_path.iterdir())

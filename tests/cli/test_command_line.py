"""The command line: what there is, what it says of mistakes, and with which exit code."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from capfilt import __version__
from capfilt.cli import app
from capfilt.cli.terminal.errors import CommandGroup, resumable
from capfilt.core import errors
from capfilt.pipelines.export.export import FORMATS
from capfilt.pipelines.export.instruct.prompts import FORMS
from command_line import invoke

Run = Callable[..., subprocess.CompletedProcess[bytes]]

OPTIONS = {
    "demo": {"--out", "--images", "--seed"},
    "run": {
        "--out",
        "--recipe",
        "--set",
        "--limit",
        "--fresh",
        "--exclude-eval",
        "--address",
        "--dry-run",
        "--append",
        "--watch",
    },
    "check": {"--recipe", "--set", "--exclude-eval", "--limit", "--sample", "--price-per-gpu-hour", "--html"},
    "submit": {
        *("--out", "--recipe", "--set", "--exclude-eval", "--limit", "--address", "--append"),
        *("--watch", "--env", "--ship", "--follow", "--wait"),
    },
    "jobs": {"--address"},
    "stop": {"--address"},
    "select": {"--recipe", "--set", "--name", "--dry-run"},
    "annotate": {"--judge", "--captioner", "--image-judge", "--name", "--where", "--set", "--drop"},
    "status": set(),
    "query": {"--format", "--output"},
    "dedup": {"--against", "--radius", "--similarity"},
    "forget": {"--url", "--domain", "--sha256", "--uid", "--dry-run"},
    "export": {
        *("--to", "--format", "--name", "--shard-rows"),
        *("--instruct", "--endpoint", "--model", "--key-env", "--concurrency"),
    },
    "recipes": {"--schema"},
    "models": set(),
    "caption": {"--captioner", "--n", "--set"},
    "score": {"--judge", "--set"},
    "evaluate": {
        "--captioner",
        "--judge",
        "--against",
        "--classes",
        "--vqa",
        "--out",
        "--limit",
        "--candidates",
        "--set",
    },
    "bootstrap": {"--out", "--rounds", "--web", "--human", "--validation", "--test", "--set"},
}
"""Every option of every command a person runs. Adding one is a decision: change it here too."""


NO_JUDGE = ("--set", "score.judges=[]")


def commands() -> dict[str, Any]:
    group = typer.main.get_command(app)
    return dict(group.commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", OPTIONS)
def test_the_options_of_a_command_are_these(name: str) -> None:
    found = {option for parameter in commands()[name].params for option in parameter.opts if option.startswith("-")}
    assert found - {"--help", "-h"} == OPTIONS[name]


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_has_help_and_a_default(name: str) -> None:
    for parameter in commands()[name].params:
        assert parameter.help, f"{name}: {parameter.name} has no help"
    for line in re.split(r"\n  (?=-)", invoke(name, "--help").stdout)[1:]:
        told = "default" in line.lower() or "[required]" in line or "--help" in line
        assert told, f"{name}: no default in {line!r}"


@pytest.mark.parametrize("name", ["", *OPTIONS])
def test_help_fits_80_columns(name: str) -> None:
    result = invoke(*filter(None, [name]), "--help")
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "..." not in result.stdout.partition("Commands:")[2], "the first line of a command's help is cut"


def test_version() -> None:
    result = invoke("--version")
    assert (result.exit_code, result.stdout) == (0, f"capfilt {__version__}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["--version"],
        ["recipes"],
        ["recipes", "--schema", "train"],
        ["models"],
        ["status", "nowhere"],
        ["run", "--help"],
    ],
)
def test_light_commands_load_neither_torch_nor_ray(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom capfilt.cli import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'ray', 'transformers') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_status_of_a_run_loads_neither_torch_nor_ray(finished: Path) -> None:
    code = (
        "import sys\nfrom capfilt.cli import app\n"
        f"try:\n    app(['status', {str(finished)!r}])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('torch', 'ray') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "[]\n"


def test_help_is_there_at_once() -> None:
    """It loads nothing that takes long: no more than the program's own few files, typer and the standard library."""
    code = (
        "import sys\nfrom capfilt.cli import app\n"
        "try:\n    app(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = ('pyarrow', 'duckdb', 'numpy', 'PIL', 'aiohttp', 'pydantic', 'fsspec')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "x", "--out", "o", "--recipe", "nope"], "recipe 'nope' is not known; there are: blip, blip2, demo,"),
        (["run", "x", "--out", "o", "--set", "nope"], "--set 'nope': expected section.key=value"),
        (["run", "x", "--out", "o", "--set", "caption.q=1"], "unknown setting caption.q; known: beams, captioner"),
        (["run", "x", "--out", "o", "--set", "caption.n=x"], "caption.n = 'x'"),
        (["run", "x", "--out", "o", *NO_JUDGE, "--set", "caption.captioner=nope"], "model 'nope' is neither"),
        (["run", "x", "--out", "o", "--set", "caption.n=5", "--set", "caption.beams=3"], "no more than 3 captions"),
        (["status", "nowhere"], "nowhere: no run here"),
        (["query", "nowhere", "select 1"], "nowhere: no run here"),
        (["demo", "--images", "3"], "--images 3: must be at least 16"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert line in last
    assert [text for text in result.stderr.splitlines() if not text.startswith("warning: ")] == [last]
    assert result.exit_code == 2
    assert not list(tmp_path.iterdir())


def test_a_missing_input_is_one_line(checkpoint: Path, tmp_path: Path) -> None:
    models = ("--set", f"caption.captioner={checkpoint}", "--set", f'score.judges=["{checkpoint}"]')
    result = invoke("run", tmp_path / "none.parquet", "--out", tmp_path / "out", *models)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "none.parquet" in result.stderr
    assert result.stderr.count("\n") == 1


def test_wrong_usage_is_exit_code_2() -> None:
    for arguments in (["run", "x"], ["bogus"], ["run", "x", "--out", "o", "--limit", "0"], ["query", "o"]):
        assert invoke(*arguments).exit_code == 2


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (errors.UserError("that"), 2, "error: that\n"),
        (errors.BusyError("\x1b[2Jbusy\nnow"), 2, "error: \\x1b[2Jbusy\\nnow\n"),
        (errors.ModelError("that"), 2, "error: that\n"),
        (errors.RunFailed("that"), 1, "error: that\n"),
        (errors.IntegrityError("that"), 1, "error: that\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_errors_become_a_line_and_an_exit_code(error: BaseException, code: int, line: str) -> None:
    small = typer.Typer(cls=CommandGroup, rich_markup_mode=None)

    @small.callback()
    def callback() -> None:
        pass

    @small.command()
    def fail() -> None:
        raise error

    result = CliRunner().invoke(small, ["fail"])
    assert (result.exit_code, result.stderr, result.stdout) == (code, line, "")


def test_an_interrupted_run_says_that_it_can_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught, resumable():
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130
    assert capsys.readouterr().err == "interrupted: committed chunks are kept; re-run the same command to resume\n"


def test_run_warns_of_the_demo_models(tmp_path: Path) -> None:
    result = invoke("run", tmp_path / "none", "--out", tmp_path / "out")
    warning = result.stderr.splitlines()[0]
    assert warning.startswith("warning: demo-captioner and demo-filter: trained on drawn shapes")
    assert "set caption.captioner and score.judges" in warning
    judges = invoke("run", tmp_path / "none", "--out", tmp_path / "out", "--set", "caption.n=0")
    assert judges.stderr.startswith("warning: demo-filter: trained")
    other = invoke("run", tmp_path / "none", "--out", tmp_path / "out", "--set", 'score.judges=["x"]')
    assert other.stderr.startswith("warning: demo-captioner: trained")


def test_status_of_a_complete_run(finished: Path) -> None:
    result = invoke("status", finished)
    assert result.exit_code == 0
    words = " ".join(result.stdout.split())
    for part in ("rows in 10", "images 7", "failures 3", "http_404 2", "opt_out 1", "synthetic 7", "web 7"):
        assert part in words
    for part in ("chunks: 2 of 2 done, 10 of 10 rows", "complete: yes", "balanced: yes", "selected: yes"):
        assert part in words


def test_status_of_half_a_run_is_1(tmp_path: Path, rows: list[Any], write: Callable[..., Path]) -> None:
    result = invoke("status", write(tmp_path / "half", rows, done=1))
    assert result.exit_code == 1
    assert "chunks:   1 of 2 done, 5 of 10 rows" in result.stdout
    assert "complete: no, 1 chunks left" in result.stdout
    assert "selected: no" in result.stdout


def test_status_of_a_run_that_lost_a_file_is_1(finished: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    (out / "failures" / "000001.parquet").unlink()
    result = invoke("status", out)
    assert result.exit_code == 1
    assert "balanced: NO: " in result.stdout
    assert "failures/000001.parquet is missing" in result.stdout


def test_query_as_a_table(finished: Path) -> None:
    result = invoke("query", finished, "SELECT text, itm FROM captions ORDER BY itm")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout
    assert r"\x1b[2J" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_query_as_csv_and_json(finished: Path) -> None:
    sql = "SELECT reason, count(*) AS n FROM failures GROUP BY ALL ORDER BY ALL"
    told = invoke("query", finished, sql, "--format", "csv").stdout
    assert list(csv.reader(io.StringIO(told))) == [["reason", "n"], ["http_404", "2"], ["opt_out", "1"]]
    told = invoke("query", finished, sql, "--format", "json").stdout
    assert json.loads(told) == [{"reason": "http_404", "n": 2}, {"reason": "opt_out", "n": 1}]


@pytest.mark.slow
def test_query_as_parquet_to_a_pipe_and_to_a_file(finished: Path, capfilt: Run, tmp_path: Path) -> None:
    sql = "SELECT uid, text FROM corpus"
    piped = capfilt("query", finished, sql, "--format", "parquet")
    assert piped.returncode == 0
    assert piped.stderr == b""
    file = tmp_path / "answer.parquet"
    result = invoke("query", finished, sql, "--format", "parquet", "--output", file)
    assert (result.exit_code, result.stdout) == (0, "")
    assert pq.read_table(io.BytesIO(piped.stdout)).equals(pq.read_table(file))
    assert pq.read_table(file).num_rows == 7


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["SELECT nothing FROM captions"], "nothing"),
        (["SELECT"], "query: "),
        ([""], "query: "),
        (["SELECT 1", "--format", "csv", "--output", "no/such/folder/x.csv"], "--output no/such/folder/x.csv: No such"),
    ],
)
def test_a_bad_query_is_one_line(finished: Path, arguments: list[str], line: str) -> None:
    result = invoke("query", finished, *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


def test_recipes_and_models_are_told() -> None:
    recipes, models = invoke("recipes"), invoke("models")
    assert recipes.exit_code == models.exit_code == 0
    for name in ("blip", "blip2", "demo", "laion-coco", "recaption"):
        assert re.search(rf"^{name} ", recipes.stdout, re.MULTILINE)
    for name in ("demo-captioner", "demo-filter"):
        assert re.search(rf"^{name} ", models.stdout, re.MULTILINE)
    assert max(len(line) for text in (recipes.stdout, models.stdout) for line in text.splitlines()) <= 80


def test_submit_takes_every_option_of_run_that_says_what_to_do() -> None:
    of_run, of_submit = (
        {option for parameter in commands()[name].params for option in parameter.opts} for name in ("run", "submit")
    )
    assert of_run - of_submit == {"--fresh", "--dry-run"}


def test_the_old_name_of_an_option_works_and_says_the_new_one(tmp_path: Path) -> None:
    result = invoke("train", "med", tmp_path / "nowhere", "--out", tmp_path / "out", "--fresh")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[0].startswith("warning: --fresh is now called --restart")
    assert "--fresh" not in invoke("train", "--help").stdout


@pytest.mark.parametrize("wrong", [("--format", "zip"), ("--format", "llava", "--instruct", "poem")])
def test_an_unknown_export_is_told_in_a_line_with_the_known_ones(wrong: tuple[str, ...], tmp_path: Path) -> None:
    result = invoke("export", tmp_path, "--to", tmp_path / "to", *wrong)
    assert result.exit_code == 2
    option, name = wrong[-2:]
    assert result.stderr.startswith(f"error: {option} {name}: unknown; known: ")
    assert result.stderr.count("\n") == 1
    for known in (*FORMATS, *FORMS):
        assert known in invoke("export", "--help").stdout

"""A slice of `make fuzz`, and proof that it would notice."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parent / "fuzz.py"
LINE = re.compile(r"inputs (\d+), crashes (\d+), hangs (\d+), unaccounted (\d+), peak memory (\d+) MB")


def fuzz(*options: str, path: Path | None = None) -> tuple[int, list[int], str]:
    """Exit code, the numbers of the last line, and all that was printed."""
    environment = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    done = subprocess.run(
        [sys.executable, str(FUZZ), *options], capture_output=True, text=True, env=environment, check=False
    )
    found = LINE.fullmatch(done.stdout.splitlines()[-1])
    assert found, done.stdout + done.stderr
    return done.returncode, [int(number) for number in found.groups()], done.stdout


@pytest.mark.slow
def test_every_broken_file_ends_as_a_row() -> None:
    """Behind the broken pictures that come first."""
    code, (inputs, crashes, hangs, unaccounted, peak), told = fuzz("--first", "1000", "--inputs", "500", "--seed", "7")
    assert (code, inputs, crashes, hangs, unaccounted) == (0, 500, 0, 0, 0), told
    assert 50 < peak < 1500  # worker, decoder and a reader of 400 MB together
    for end in ("image", "truncated", "corrupt", "container with failures", "refused"):
        assert re.search(rf"\b{end} \d+", told), f"nothing was {end}: the mutations do not do their work"


DAMAGE = {
    "raises": ("raise KeyError('hidden')", "crashes: input 1000: .*KeyError: 'hidden'"),
    "dies": ("os.abort()", "crashes: --seed 7, inputs 1000 to 1000: the worker ended with -6"),
    "breaks the terminal": ("raise InputError('\\x1b[2J')", "unaccounted: input 1000"),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", DAMAGE)
def test_a_reader_that_fails_is_noticed(what: str, tmp_path: Path) -> None:
    """Python runs sitecustomize as it starts: it puts a broken `make_plan` in place."""
    does, noticed = DAMAGE[what]
    code = f"""
import os
import capfilt.pipelines.plan as plan
from capfilt.core.errors import InputError

def make_plan(*_):
    {does}

plan.make_plan = make_plan
"""
    (tmp_path / "sitecustomize.py").write_text(code)
    exit_code, (inputs, crashes, _, unaccounted, _), told = fuzz("--only", "1000", "--seed", "7", path=tmp_path)
    assert (exit_code, inputs, crashes + unaccounted) == (1, 1, 1), told
    assert re.search(noticed, told), told

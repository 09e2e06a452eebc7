"""A finished run made by the real stages from real pictures: what comes after starts here."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from staged_run import MakeRun, Pair, Run, pairs, write_pairs


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(rows, name="out", *settings)`: a run over these rows, not even planned."""

    def make(rows: Sequence[Pair], name: str = "out", *settings: str) -> Run:
        source = write_pairs(tmp_path / "inputs" / name / "pairs.parquet", rows)
        return Run(tmp_path / name, source, rows, settings)

    return make


@pytest.fixture
def run(make_run: MakeRun) -> Run:
    """A finished run over `pairs()`."""
    return make_run(pairs()).finish()

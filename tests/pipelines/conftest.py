"""A finished run made by the real stages from real pictures: what comes after starts here."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from staged_run import MakeRun, Pair, Run, pairs


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """`make_run(rows, name="out", *settings)`: a run over these rows, not even planned."""

    def make(rows: Sequence[Pair], name: str = "out", *settings: str) -> Run:
        return Run.over(rows, tmp_path, name, settings)

    return make


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run over `pairs()` that no test changes."""
    return Run.over(pairs(), tmp_path_factory.mktemp("staged")).finish()


@pytest.fixture
def run(finished_run: Run, tmp_path: Path) -> Run:
    """A copy of it that a test may change."""
    return finished_run.copy(tmp_path / "out")

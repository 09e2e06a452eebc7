"""A small input, a tiny random model, and one unbroken run over them that several tests look at."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from capfilt.commands.run import RunResult, run
from capfilt.core.config import Recipe
from capfilt.demo.world import jpeg, web_rows
from capfilt.pipelines.recipes.load import load_recipe

ROWS = 60


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Parquet file of 60 rows: pictures with web text, every tenth one no picture at all."""
    path = tmp_path_factory.mktemp("input") / "pictures.parquet"
    rows = [
        {"image": b"<html>gone</html>" if number % 10 == 3 else jpeg(scene, 64), "text": row.text}
        for number, (scene, row) in enumerate(web_rows(ROWS, seed=5))
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


@pytest.fixture(scope="session")
def settings(checkpoint: Path) -> tuple[str, ...]:
    """--set values: the random model, and chunks small enough that a run has many."""
    return (
        f"caption.captioner='{checkpoint}'",
        f"score.judges=['{checkpoint}']",
        "caption.n=2",
        "input.chunk_rows=5",
        "engine.cpus=3",
        "engine.resources={fetch={CPU=0.8}}",  # fewer processes: the start of each is what a start of Ray takes
        "engine.threads=1",  # or the last bits would be those of how many nodes are alive
    )


@pytest.fixture(scope="session")
def recipe(settings: tuple[str, ...]) -> Recipe:
    return load_recipe("blip", settings)


@pytest.fixture(scope="session")
def local(settings: tuple[str, ...]) -> tuple[str, ...]:
    """The same without Ray."""
    return (*settings, "engine.kind=local")


@pytest.fixture(scope="session")
def local_recipe(local: tuple[str, ...]) -> Recipe:
    return load_recipe("blip", local)


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory, pictures: Path, local_recipe: Recipe) -> Path:
    """A whole local run, never disturbed."""
    out = tmp_path_factory.mktemp("runs") / "calm"
    run([str(pictures)], str(out), local_recipe)
    return out


@pytest.fixture(scope="session")
def unbroken(tmp_path_factory: pytest.TempPathFactory, pictures: Path, recipe: Recipe) -> tuple[Path, RunResult]:
    """A whole run on Ray, never disturbed."""
    out = tmp_path_factory.mktemp("runs") / "unbroken"
    return out, run([str(pictures)], str(out), recipe)

"""A run whose judge counts words, in this process: inputs and settings, for tests of what a run is given later."""

from pathlib import Path
from typing import Final

from capfilt.core.config import Recipe
from capfilt.pipelines.recipes.load import load_recipe
from staged_run import pairs, write_pairs

WORDS: Final = "python:word_judge:WordJudge"
TABLES: Final = ("images", "captions", "failures", "commits", "decisions", "corpus", "layers")
_SETTINGS: Final = (
    "caption.n=0",
    f"score.judges=['{WORDS}']",
    "select.judge=words",
    "select.threshold=10",
    "input.chunk_rows=6",
    "engine.kind=local",
    "engine.threads=1",
    "decode.isolate=false",
)


def word_recipe() -> Recipe:
    return load_recipe("blip", _SETTINGS)


def two_files(folder: Path) -> tuple[Path, Path]:
    """Two files of whole chunks, so that the chunks of both together are those of each."""
    rows = pairs(18)
    return write_pairs(folder / "a.parquet", rows[:12]), write_pairs(folder / "b.parquet", rows[12:])

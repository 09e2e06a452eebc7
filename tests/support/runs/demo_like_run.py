"""A finished run made by the real commit and select, without models or Ray, and the command line as people start it."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from capfilt.core import schema
from capfilt.core.chunks import Chunk, Part
from capfilt.core.config import Recipe
from capfilt.demo.world import describe, jpeg, other_caption, paraphrase, random_scene
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.selection.select import select
from capfilt.pipelines.stages.commit import commit

HOSTILE = "\x1b[2J\x1b[31mred\u202e text"


@dataclass(frozen=True)
class Candidate:
    """A text of a row, and the score that some judge gave."""

    source: str
    text: str
    itm: float


@dataclass(frozen=True)
class Row:
    """An input row: an image with candidates, or a failure with a reason."""

    url: str
    image: bytes = b""
    candidates: tuple[Candidate, ...] = ()
    reason: schema.Reason | None = None

    @property
    def uid(self) -> str:
        return schema.make_uid("list.tsv", self.url, self.url)


def table(rows: list[Row]) -> pa.Table:
    """The rows as commit wants them."""
    kind = pa.list_(schema.candidate_type(("itm",)))
    columns = pa.schema([*schema.ROWS, *schema.IMAGE_FACTS, ("candidates", kind)])
    return pa.Table.from_pylist([_cells(row) for row in rows], schema=columns)


def _cells(row: Row) -> dict[str, Any]:
    cells: dict[str, Any] = {"uid": row.uid, "source": f"list.tsv#{row.url}", "url": row.url, "texts": []}
    if row.reason:
        return cells | {"stage": "fetch", "reason": row.reason.value, "detail": HOSTILE, "candidates": []}
    facts = {"image": row.image, "sha256": "0" * 64, "width": 96, "height": 96, "format": "jpeg"}
    facts |= {"phash": 1, "phash_mirrored": 1, "color_layout": bytes(48)}
    fixed: dict[str, Any] = {"captioner": None, "round": 0, "seed": None, "logprob": None, "flags": []}
    candidates = [
        {"candidate": n, "source": c.source, "text": c.text, "itm": c.itm} | fixed for n, c in enumerate(row.candidates)
    ]
    return cells | facts | {"candidates": candidates}


def write_run(out: Path, rows: list[Row], done: int | None = None) -> Path:
    """A run of two chunks over rows; only the first `done` of them are committed, and then nothing is selected."""
    half = len(rows) // 2
    parts = (rows[:half], rows[half:])
    chunks = [
        Chunk(f"{n:06d}", (Part("lists", "/list.tsv", "list.tsv", n * half, len(part), {}),))
        for n, part in enumerate(parts)
    ]
    ledger, recipe = Ledger.at(out), load_recipe("blip")
    ledger.write_plan(chunks, [("list.tsv", 10, "0" * 64)], recipe, {"capfilt": "0"}, {})
    for chunk, part in list(zip(chunks, parts, strict=True))[:done]:
        commit(table(part), chunk, ledger.folder, ledger.spec_digest(chunk))
    if done is None:
        select(ledger.folder, recipe.select)
    return out


@pytest.fixture(scope="session")
def write() -> Callable[..., Path]:
    """`write(out, rows, done=None)`: see `write_run`."""
    return write_run


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """10 rows: 7 images, 2 x 404 and an opt-out; of the images' web texts 4 are wrong, one of these scores high."""
    import numpy as np

    rng = np.random.default_rng(5)
    found = []
    for n in range(7):
        scene = random_scene(rng)
        text = paraphrase(scene, rng) if n < 3 else other_caption(scene, rng) if n < 6 else HOSTILE
        synthetic = describe(scene) if n < 5 else "a large"
        scores = (0.9, 0.8) if n < 2 else (0.3, 0.7) if n < 6 else (0.6, 0.2)
        candidates = (Candidate("web", text, scores[0]), Candidate("synthetic", synthetic, scores[1]))
        found.append(Row(f"http://127.0.0.1:1/{n}.jpg", jpeg(scene, 96), candidates))
    reasons = (schema.Reason.HTTP_404, schema.Reason.OPT_OUT, schema.Reason.HTTP_404)
    return found + [Row(f"http://127.0.0.1:1/{7 + n}.jpg", reason=reason) for n, reason in enumerate(reasons)]


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Path:
    """A complete run over `rows`."""
    return write_run(tmp_path_factory.mktemp("finished") / "out", rows)


Done = subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="session")
def capfilt() -> Callable[..., Done]:
    """`capfilt(*arguments)`: the real program in a process of its own, its output caught."""

    def capfilt(*arguments: str | Path, cwd: Path | None = None) -> Done:
        command = [sys.executable, "-m", "capfilt", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, cwd=cwd)

    return capfilt


@pytest.fixture(scope="session")
def model(checkpoint: Path) -> Recipe:
    """The demo's recipe with the random weights."""
    own = (f"caption.captioner={checkpoint}", f'score.judges=["{checkpoint}"]')
    return load_recipe("demo", (*own, "engine.threads=1", "fetch.timeout=6"))  # one page never answers

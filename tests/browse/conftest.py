"""A finished run with hostile texts in it, and `capfilt browse` over it as a process of its own."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from browse_server import Browse, start
from capfilt.core import schema
from capfilt.core.chunks import Chunk, Part
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.selection.select import select
from capfilt.pipelines.stages.commit import commit
from pictures import picture

JUDGES = ("itm", "itc")
CHUNKS, ROWS = 3, 40
HOSTILE = (
    "<script>document.title = 'broken'</script>",
    "\"double\" & 'single' <img src=x onerror=\"document.title = 'broken'\">",
    "abc \u202egnorw si siht\u202c \u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd",
    "a megabyte of words " * 50_000,
)
COLOURS = ("red", "green", "blue")


def _row(number: int, rng: np.random.Generator) -> dict[str, Any]:
    url = f"javascript:document.title='broken'//{number}" if number == 1 else f"https://example.org/{number}.png"
    head = {
        "uid": schema.make_uid("list.tsv", str(number), url),
        "source": f"list.tsv#{number}",
        "url": url,
        "texts": [],
    }
    if number % 10 == 9:
        reason = "http_404" if number % 20 == 9 else "timeout"
        return head | {"stage": "fetch", "reason": reason, "detail": HOSTILE[0], "candidates": []}
    facts = {"sha256": "ab" * 32, "width": 400, "height": 240, "format": "png"}
    facts |= {"phash": number, "phash_mirrored": number, "color_layout": bytes(48)}
    return head | facts | {"image": picture(number, 400, "PNG", height=240), "candidates": _candidates(number, rng)}


def _candidates(number: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    words = f"a {COLOURS[number % 3]} thing, number {number}"
    web = HOSTILE[number] if number < len(HOSTILE) else " " if number == 11 else words
    texts = [("web", web), *(("synthetic", f"{words} again {again}") for again in range(number % 3))]
    fixed: dict[str, Any] = {"captioner": None, "round": 0, "seed": None, "logprob": None}
    scores: list[float | None] = [float(np.float32(score)) for score in rng.beta(0.5, 0.5, len(texts))]
    odd = {11: float(np.float32(0.95)), 12: None, 13: float("nan")}  # a blank text that the judge likes, and no scores
    scores[0] = odd.get(number, scores[0])
    return [
        {"candidate": place, "source": source, "text": text, "itm": score, "itc": float(rng.normal()), **fixed}
        | {"flags": [] if text.strip() else ["empty"]}
        for place, ((source, text), score) in enumerate(zip(texts, scores, strict=True))
    ]


def make_run(out: str, threshold: float | None = 0.5) -> Ledger:
    """A complete run of `CHUNKS` chunks of `ROWS` rows; selected at a threshold, or not."""
    ledger, recipe, rng = Ledger.at(out), load_recipe("blip"), np.random.default_rng(1)
    part = [Part("lists", "/list.tsv", "list.tsv", n * ROWS, ROWS, {}) for n in range(CHUNKS)]
    chunks = [Chunk(f"{n:06d}", (part[n],)) for n in range(CHUNKS)]
    ledger.write_plan(chunks, [("list.tsv", 10, "0" * 64)], recipe, {"capfilt": "0"}, {})
    kind = pa.list_(schema.candidate_type(JUDGES))
    columns = pa.schema([*schema.ROWS, *schema.IMAGE_FACTS, ("candidates", kind)])
    for chunk in chunks:
        first = chunk.parts[0].start
        rows = [_row(number, rng) for number in range(first, first + ROWS)]
        commit(pa.Table.from_pylist(rows, schema=columns), chunk, ledger.folder, ledger.spec_digest(chunk))
    if threshold is not None:
        select(ledger.folder, recipe.select.model_copy(update={"threshold": threshold}))
    return ledger


@pytest.fixture(scope="session", name="make_run")
def make_run_fixture() -> Callable[..., Ledger]:
    """The function `make_run`."""
    return make_run


@pytest.fixture(scope="session")
def steady_run(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """A run that no test changes."""
    return make_run(str(tmp_path_factory.mktemp("steady") / "out"))


@pytest.fixture
def run(steady_run: Ledger, tmp_path: Path) -> Ledger:
    """A copy of it that a test may change."""
    return Ledger.at(shutil.copytree(steady_run.folder.location, tmp_path / "out"))


@pytest.fixture(scope="session")
def steady(steady_run: Ledger) -> Iterator[Browse]:
    """A server over a run that no test changes."""
    with start(steady_run.folder.location) as server:
        yield server

"""A small run, made by hand: three chunks of rows as they come out of the last stage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from capfilt.core import schema
from capfilt.core.chunks import Chunk, Part
from capfilt.core.config import Recipe
from capfilt.core.schema import make_uid
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.stages.commit import commit
from pictures import picture

JUDGES = ("itm", "itc")
INPUTS = [("list.csv", 1234, "d1"), ("more.csv", 99, "d2")]
MODELS = {"captioner demo-captioner": "aa", "filter demo-filter": "bb"}


def make_chunk(number: int, rows: int = 6) -> Chunk:
    """A chunk of two parts, of two files."""
    first = Part("csv", "/data/list.csv", "list.csv", number * rows, rows - 2, {"offset": number * 100})
    second = Part("csv", "/data/more.csv", "more.csv", number * 2, 2, {"offset": number * 10})
    return Chunk(f"{number:06d}", (first, second))


def candidate(number: int, text: str, itm: float | None, **more: Any) -> dict[str, Any]:
    """A candidate of two judges; number 0 is the web text, others are synthetic."""
    web = number == 0
    fields = {"candidate": number, "source": "web" if web else "synthetic", "text": text, "round": 0, "flags": []}
    extra = {"captioner": None if web else "demo@aa", "seed": None if web else 2**63 + number, "logprob": None}
    return {**fields, **extra, "itm": itm, "itc": None if itm is None else itm / 2, **more}


def make_rows(chunk: Chunk, candidates: Callable[[int], Sequence[dict[str, Any]]] | None = None) -> pa.Table:
    """What reaches commit: every third row is dead, the others have two candidates (or those of `candidates`)."""
    rows = []
    for part in chunk.parts:
        for number in range(part.start, part.start + part.rows):
            url = f"http://example.org/{part.identity}/{number}.jpg"
            head = {"uid": make_uid(part.identity, str(number), url), "source": f"{part.identity}#{number}", "url": url}
            rows.append({**head, "texts": [], **(_dead(number) if number % 3 == 2 else _living(number, candidates))})
    kinds = [*schema.ROWS, *schema.IMAGE_FACTS, pa.field("candidates", pa.list_(schema.candidate_type(JUDGES)))]
    table = pa.Table.from_pylist(rows, schema=pa.schema(kinds))
    return table.append_column("pixels:squash-2", pa.array([b"0" * 12] * table.num_rows, pa.binary(12)))


def _living(number: int, candidates: Callable[[int], Sequence[dict[str, Any]]] | None) -> dict[str, Any]:
    texts = [candidate(1, f"a thing {number}", 0.25 * (number % 4)), candidate(0, f"web {number}", 0.9 - number % 2)]
    facts = {"sha256": "ab" * 32, "width": 8 + number % 5, "height": 6, "format": "jpeg"}
    facts |= {"phash": 2**64 - 1 - number, "phash_mirrored": 0, "color_layout": bytes(48)}
    return {
        "image": picture(number, 8 + number % 5, height=6),
        **facts,
        "candidates": list(candidates(number)) if candidates else texts,
    }


def _dead(number: int) -> dict[str, Any]:
    reason = "timeout" if number % 2 else "http_404"
    return {"stage": "fetch", "reason": reason, "detail": f"try {number}", "candidates": []}


@dataclass
class Books:
    """A planned run, and how to commit chunks of it."""

    ledger: Ledger
    recipe: Recipe
    chunks: list[Chunk] = field(default_factory=lambda: [make_chunk(number) for number in range(3)])

    def plan(self) -> None:
        self.ledger.write_plan(self.chunks, INPUTS, self.recipe, {"torch": "2.15"}, MODELS)

    def commit(self, number: int, rows: pa.Table | None = None) -> pa.Table:
        chunk = self.chunks[number]
        rows = make_rows(chunk) if rows is None else rows
        return commit(rows, chunk, self.ledger.folder, self.ledger.spec_digest(chunk))


@pytest.fixture
def books(tmp_path: Path) -> Books:
    """Three chunks planned, none committed."""
    made = Books(Ledger.at(tmp_path / "out"), Recipe())
    made.plan()
    return made


@pytest.fixture
def full_books(books: Books) -> Books:
    """Three chunks planned and committed."""
    for number in range(3):
        books.commit(number)
    return books

"""A finished run made by the real stages from real pictures, without models or Ray: what comes after starts here."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core import schema
from capfilt.core.chunks import Chunk
from capfilt.core.config import Recipe
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.status import Status, status
from capfilt.pipelines.evaluation.decontaminate import EvaluationSets, without_leaks
from capfilt.pipelines.plan import make_plan
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.selection.select import select
from capfilt.pipelines.stages.commit import commit
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.fetch import fetch
from capfilt.pipelines.stages.read import read
from capfilt.pipelines.stages.tombstones import Tombstones
from pictures import picture

JUDGES = ("itm", "itc")


@dataclass(frozen=True)
class Pair:
    """A row of the input: a URL, bytes that may be no picture, texts; and what the judge will say of them."""

    url: str | None
    image: bytes
    texts: tuple[str, ...] = ()
    itm: tuple[float, ...] = ()  # of the texts, then of the synthetic one


def pairs(count: int = 20) -> list[Pair]:
    """Rows on three hosts; every seventh is no picture, every fifth web text is wrong, every third synthetic one."""
    hosts = ("example.org", "img.example.org", "pictures.test")
    return [
        Pair(
            f"http://{hosts[n % 3]}/albums/{n:04d}/photo.jpg",
            b"<html>" if n % 7 == 6 else picture(n, format="PNG" if n % 4 == 3 else "JPEG"),
            (f"a snapshot called number {n} taken by the sea",),
            (0.1 if n % 5 == 4 else 0.9, 0.2 if n % 3 == 2 else 0.8),
        )
        for n in range(count)
    ]


@dataclass
class Run:
    """A run in the making."""

    out: Path
    source: Path
    rows: Sequence[Pair] = ()
    settings: tuple[str, ...] = ()
    recipe: Recipe = field(init=False)

    def __post_init__(self) -> None:
        self.recipe = load_recipe("blip", ("input.chunk_rows=6", "decode.isolate=false", *self.settings))

    @classmethod
    def over(cls, rows: Sequence[Pair], folder: Path, name: str = "out", settings: tuple[str, ...] = ()) -> "Run":
        """A run over these rows, not even planned."""
        return cls(folder / name, write_pairs(folder / "inputs" / name / "pairs.parquet", rows), rows, settings)

    def copy(self, out: Path) -> "Run":
        """The same run elsewhere, over the same input."""
        return replace(self, out=Path(shutil.copytree(self.out, out)))

    @property
    def ledger(self) -> Ledger:
        return Ledger.at(self.out)

    @property
    def status(self) -> Status:
        return status(self.ledger.folder)

    def plan(self) -> list[Chunk]:
        """Plan it, as `capfilt.commands.run` does."""
        plan, evaluation = make_plan([str(self.source)], self.recipe.input), EvaluationSets.find(self.recipe.decode)
        inputs = [*((file.identity, file.size, file.sha256) for file in plan.inputs), *evaluation.inputs()]
        evaluation.write(self.ledger, self.recipe.decode)
        self.ledger.write_plan(plan.chunks, inputs, self.recipe, {"capfilt": "0"}, {"filter test": "ab" * 32})
        return list(plan.chunks)

    def commit(self, chunk: Chunk) -> None:
        """Take a chunk through the stages, with scores that the rows bring along."""
        folder, ledger = self.ledger.folder, self.ledger
        rows = fetch(Tombstones.of(folder).apply(read(chunk)), self.recipe.fetch)
        rows = decode(rows, self.recipe.decode)
        rows = without_leaks(rows, folder, self.recipe.decode)
        commit(self._judged(rows), chunk, folder, ledger.spec_digest(chunk))

    def _judged(self, rows: pa.Table) -> pa.Table:
        scores = {pair.url: pair.itm for pair in self.rows}
        columns = (rows[name].to_pylist() for name in ("uid", "url", "texts", "reason"))
        candidates = [
            [] if reason else _candidates(uid, [text["text"] for text in texts], scores.get(url) or (0.9, 0.8))
            for uid, url, texts, reason in zip(*columns, strict=True)
        ]
        return rows.append_column("candidates", pa.array(candidates, pa.list_(schema.candidate_type(JUDGES))))

    def finish(self) -> "Run":
        """Plan, commit all and select."""
        for chunk in self.plan():
            self.commit(chunk)
        select(self.ledger.folder, self.recipe.select, self.recipe.output.images)
        return self

    def table(self, name: str) -> list[dict[str, Any]]:
        """All rows of a table of the run, without bytes of pictures."""
        rows = [
            row for file in sorted((self.out / name).glob("[!.]*.parquet")) for row in pq.read_table(file).to_pylist()
        ]
        return [{key: value for key, value in row.items() if key != "image"} for row in rows]


def work_without_models(source: str, out: str, recipe: Recipe) -> Ledger:
    """A whole run, or the rest of one, here or in a bucket: every web text scores 0.9, and no caption is written."""
    ledger, plan = Ledger.at(out), make_plan([source], recipe.input)
    if not ledger.planned:
        inputs = [(file.identity, file.size, file.sha256) for file in plan.inputs]
        ledger.write_plan(plan.chunks, inputs, recipe, {}, {})
    for chunk in ledger.todo():
        rows = decode(read(chunk), recipe.decode)
        fixed = {"candidate": 0, "round": 0, "flags": [], "itm": 0.9}
        texts = [[text | fixed for text in row] for row in rows["texts"].to_pylist()]
        column = pa.array(texts, pa.list_(schema.candidate_type(("itm",))))
        commit(rows.append_column("candidates", column), chunk, ledger.folder, ledger.spec_digest(chunk))
    select(ledger.folder, recipe.select)
    return ledger


class MakeRun(Protocol):
    """A run over these rows, not even planned."""

    def __call__(self, rows: Sequence[Pair], name: str = "out", *settings: str) -> Run: ...


def _candidates(uid: str, texts: list[str], itm: Sequence[float]) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {"round": 0, "flags": [], "captioner": None, "seed": None, "logprob": None}
    own = shared | {"captioner": "test@00", "seed": int(uid[:15], 16), "logprob": -3.5}
    found = [{"candidate": n, "source": "web", "text": text, **shared} for n, text in enumerate(texts)]
    found.append({"candidate": max(len(texts), 1), "source": "synthetic", "text": f"soft colours {uid[:6]}", **own})
    return [candidate | {"itm": score, "itc": score / 2} for candidate, score in zip(found, itm, strict=False)]


def write_pairs(file: Path, rows: Sequence[Pair]) -> Path:
    """Parquet with images inside, as an input."""
    table = pa.table(
        {
            "url": pa.array([row.url for row in rows], pa.string()),
            "image": pa.array([row.image for row in rows], pa.binary()),
            "text": pa.array([list(row.texts) for row in rows], pa.list_(pa.string())),
        }
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)
    return file


def tree(folder: Path) -> dict[str, bytes]:
    """Every file under a folder by its name."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

"""Runs to report on, by the real commit and select: a small one of hostile texts, and synthetic ones of any size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from capfilt.core import schema
from capfilt.core.chunks import Chunk, Part
from capfilt.core.config import Recipe
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.session import Session, save_session
from capfilt.pipelines.selection.select import select
from capfilt.pipelines.stages.commit import commit
from pictures import picture

JUDGES = ("itm", "clip")
SCRIPT = "<script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"
TURNED = "nice \u202egnp.exe\u2069 \x1b[2Jpicture"
ENDLESS = "abc " * 262_144
HOSTILE = (SCRIPT, TURNED, ENDLESS, "</style></script>{{ 7 * 7 }}", 'a dog\'s "ball" & <b>bone</b>')


def chunk_rows(
    chunk: Chunk, text: Callable[[int], str], pictures: list[bytes], host: str, judges: tuple[str, ...] = JUDGES
) -> pa.Table:
    """Rows as they reach commit: of every ten one has failed, the others have a web and a synthetic text."""
    (part,) = chunk.parts
    numbers = np.arange(part.start, part.start + part.rows)
    rng = np.random.default_rng(part.start)
    urls = [f"https://user:secret@{host}/{n}.jpg?{n}" for n in numbers]
    uids = [schema.make_uid(part.identity, str(n), url) for n, url in zip(numbers, urls, strict=True)]
    dead = numbers % 10 == 9
    living = ~dead
    count = 2 * int(living.sum())
    itm = np.where(rng.random(count) < 0.5, rng.beta(1, 8, count), rng.beta(8, 1, count)).astype(np.float32)
    clip = (0.1 + 0.2 * itm + rng.normal(0, 0.04, count)).astype(np.float32)
    nothing = pa.nulls(count)
    fields = {
        "candidate": np.tile([0, 1], count // 2),
        "source": np.tile(["web", "synthetic"], count // 2),
        "text": [text(2 * int(n) + k) for n in numbers[living] for k in (0, 1)],
        "box": pa.nulls(count, schema.BOX),
        "captioner": nothing,
        "round": np.zeros(count),
        "seed": nothing,
        "logprob": nothing,
        "flags": pa.array([[]] * count, pa.list_(pa.string())),
        **{name: scores for name, scores in (("itm", itm), ("clip", clip)) if name in judges},
    }
    kind = schema.candidate_type(judges)
    structs = pa.table(fields).cast(pa.schema(list(kind))).to_struct_array().combine_chunks()
    offsets = np.concatenate([[0], np.cumsum(2 * living)]).astype(np.int32)

    def alive(values: list[Any], type_: pa.DataType) -> pa.Array:
        return pa.array([value if lives else None for value, lives in zip(values, living, strict=True)], type_)

    columns = {
        "uid": uids,
        "source": [f"{part.identity}#{n}" for n in numbers],
        "url": urls,
        "redirect_hosts": pa.nulls(len(numbers), pa.list_(pa.string())),
        "texts": pa.array([[]] * len(numbers), pa.list_(schema.GIVEN_TEXT)),
        "image": alive([pictures[n % len(pictures)] for n in numbers], pa.large_binary()),
        "stage": pa.array(np.where(dead, "fetch", None), pa.string()),
        "reason": pa.array(np.where(dead, np.where(numbers % 20 == 9, "http_404", "dns"), None), pa.string()),
        "detail": pa.array(np.where(dead, SCRIPT, None), pa.string()),
        "sha256": alive(["ab" * 32] * len(numbers), pa.string()),
        "width": alive([64] * len(numbers), pa.int32()),
        "height": alive([64] * len(numbers), pa.int32()),
        "format": alive(["jpeg"] * len(numbers), pa.string()),
        "phash": alive([int(n) // 3 for n in numbers], pa.uint64()),
        "phash_mirrored": alive([0] * len(numbers), pa.uint64()),
        "color_layout": alive([bytes(48)] * len(numbers), pa.binary(48)),
        "candidates": pa.ListArray.from_arrays(offsets, structs),
    }
    return pa.table(columns)


def write_run(
    out: Path,
    rows: int,
    text: Callable[[int], str],
    *,
    host: str = "example.org",
    chunk: int = 10_000,
    judges: tuple[str, ...] = JUDGES,
) -> Path:
    """A run of `rows` rows, complete, and selected if there are judges."""
    chunks = [
        Chunk(f"{n:06d}", (Part("lists", "/list.tsv", "list.tsv", start, min(chunk, rows - start), {}),))
        for n, start in enumerate(range(0, rows, chunk))
    ]
    ledger, recipe = Ledger.at(out), Recipe()
    ledger.write_plan(chunks, [(SCRIPT, 10, "0" * 64)], recipe, {"capfilt": "0"}, {"filter demo-filter": "aa"})
    pictures = [picture(n, 96, height=64) if n % 2 else picture(n, 64, height=96) for n in range(50)]
    for one in chunks:
        commit(chunk_rows(one, text, pictures, host, judges), one, ledger.folder, ledger.spec_digest(one))
    seconds = {"fetch": 60.0, "decode": 20.0, "caption": 90.0, "score": 30.0, "commit": 1.0}
    save_session(ledger.folder, Session("2026-01-01T10:00:00+00:00", "2026-01-01T10:02:00+00:00", rows, seconds))
    if judges:
        select(ledger.folder, recipe.select)
    return out


def plain_text(number: int) -> str:
    """A text of a few words, another one for every number."""
    rng = np.random.default_rng(number)
    return " ".join(f"word{w}" for w in rng.integers(0, 5000, 3 + number % 12))


@pytest.fixture(scope="session")
def hostile_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 rows whose texts, URLs, messages and input names would like to be markup."""
    return write_run(
        tmp_path_factory.mktemp("report") / "<b>run</b>",
        200,
        lambda number: HOSTILE[number % len(HOSTILE)],
        host="<script>x</script>.example",
        chunk=100,
    )


@pytest.fixture(scope="session")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 rows of ordinary texts."""
    return write_run(tmp_path_factory.mktemp("report") / "plain", 600, plain_text, chunk=300)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """`make_run(out, rows, judges=JUDGES)`: a run of ordinary texts."""
    return lambda out, rows, judges=JUDGES: write_run(out, rows, plain_text, judges=judges)

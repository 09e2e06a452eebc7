"""The pictures of the experiment: one thing each, so that a small model can learn them in minutes.

| set | pictures | texts |
|---|---|---|
| web | 10,000 | one each; half of them right, the others another picture's, off by a detail, or junk |
| human | 2,000 | three right and complete ones each |
| test | 500, no two told alike | one right and complete one each |
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core.schema import IMAGE, TEXT
from capfilt.demo.world.boilerplate import boilerplate
from capfilt.demo.world.language import describe, is_right, paraphrase, parse, partial, wrong_detail
from capfilt.demo.world.scene import BACKGROUNDS, COLORS, SHAPES, SIZES, Scene, Thing, pick, render
from capfilt.demo.world.web import as_on_the_web

SIDE = 32
COLUMNS = pa.schema([("image", IMAGE), ("captions", pa.list_(TEXT)), ("uid", pa.string())])


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a PNG, its truth, and the texts that came with it."""

    uid: str
    png: bytes
    truth: str
    texts: tuple[str, ...]


def draw(rng: np.random.Generator) -> Scene:
    """A scene of one thing."""
    thing = Thing(pick(rng, tuple(SIZES)), pick(rng, tuple(COLORS)), pick(rng, tuple(SHAPES)))
    return Scene((thing,), None, pick(rng, tuple(BACKGROUNDS)), int(rng.integers(2**31)))


def web_text(scene: Scene, rng: np.random.Generator) -> str:
    """Right in half of the cases."""
    roll = rng.random()
    if roll < 0.5:
        return as_on_the_web((paraphrase if roll < 0.25 else partial)(scene, rng), rng)
    if roll < 0.8:
        while is_right(text := paraphrase(draw(rng), rng), describe(scene)):
            pass
        return as_on_the_web(text, rng)
    return as_on_the_web(wrong_detail(scene, rng) if roll < 0.9 else boilerplate(rng), rng)


def pictures(kind: str, count: int, seed: int) -> list[Picture]:
    """Pictures of the set `web`, `human` or `test`; other seeds, other pictures."""
    rng = np.random.default_rng([seed, ("web", "human", "test").index(kind)])
    found: list[Picture] = []
    told: set[str] = set()
    while len(found) < count:
        scene = draw(rng)
        truth = describe(scene)
        if kind == "test" and truth in told:
            continue
        told.add(truth)
        texts = (web_text(scene, rng),) if kind == "web" else tuple(paraphrase(scene, rng) for _ in range(3))
        texts = texts[:1] if kind == "test" else texts
        stream = io.BytesIO()
        render(scene, SIDE).save(stream, "PNG")
        found.append(Picture(f"{kind}-{len(found):06d}", stream.getvalue(), truth, texts))
    return found


def write(path: Path, rows: Iterable[tuple[Picture, Sequence[tuple[str, str]]]]) -> int:
    """Pictures with (text, source) of each, as training reads them; those without a text are left out."""
    kept = [
        {
            "image": {"bytes": picture.png, "path": f"{picture.uid}.png"},
            "captions": [{"text": text, "source": source} for text, source in texts],
            "uid": picture.uid,
        }
        for picture, texts in rows
        if texts
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(kept, COLUMNS), path)
    return len(kept)


def says_it_all(text: str, truth: str) -> bool:
    """Whether a text states exactly what the canonical caption does."""
    said = parse(text)
    return said is not None and said == parse(truth)

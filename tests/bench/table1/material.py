"""The pictures of the experiment: one thing each, so that a small model can learn them in minutes.

| set | pictures | texts |
|---|---|---|
| web | 10,000 | one each; half of them right, the others another picture's, off by a detail, or junk |
| human | 2,000 | three right and complete ones each |
| test | 500, no two told alike | one right and complete one each |

That is the regime `full`. In `scarce` 75 % of the web's texts are wrong, its right ones name the shape and at most one
fact, and people leave out facts as well.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core.schema import IMAGE, TEXT
from capfilt.demo.world.boilerplate import boilerplate
from capfilt.demo.world.language import brief, describe, is_right, paraphrase, parse, partial, wrong_detail
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


def thin_web_text(scene: Scene, rng: np.random.Generator) -> str:
    """Right in a quarter of the cases, and thin; a wrong one is as thin, so that length does not tell."""
    roll, facts = rng.random(), int(rng.integers(2))
    if roll < 0.25:
        return as_on_the_web(brief(scene, rng, facts), rng)
    if roll < 0.85:
        while is_right(text := brief(draw(rng), rng, facts), describe(scene)):
            pass
        return as_on_the_web(text, rng)
    return as_on_the_web(boilerplate(rng), rng)


def human_text(scene: Scene, rng: np.random.Generator) -> str:
    """Right, with one to all three facts."""
    return brief(scene, rng, int(rng.integers(1, 4)))


@dataclass(frozen=True, slots=True)
class Regime:
    """How much the texts of the world say, and how captioner and filter are trained."""

    web: Callable[[Scene, np.random.Generator], str]
    human: Callable[[Scene, np.random.Generator], str]
    share: float  # of a batch from people, in every condition
    filter_starts_from: Literal["captioner", "none"]  # none: the pretrained model, as in the paper
    token_itm: float  # weight of the filter's objective that is not in the paper


REGIMES: Final[Mapping[str, Regime]] = {
    "full": Regime(web_text, paraphrase, 0.17, "captioner", 1.0),
    "scarce": Regime(thin_web_text, human_text, 0.09, "none", 0.0),
}


def pictures(kind: str, count: int, seed: int, regime: Regime) -> list[Picture]:
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
        say, count_of = {"web": (regime.web, 1), "human": (regime.human, 3), "test": (paraphrase, 3)}[kind]
        texts = tuple(say(scene, rng) for _ in range(count_of))
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

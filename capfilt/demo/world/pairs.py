"""Images as annotators left them: captions they wrote, web texts they found right, texts they marked as wrong.

This is what a captioner and a filter of this world are trained on; no image of it stands in a web list.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from capfilt.demo.world.language import paraphrase, partial, wrong_texts
from capfilt.demo.world.questions import questions
from capfilt.demo.world.scene import Scene, random_scene, render
from capfilt.demo.world.web import as_on_the_web


@dataclass(frozen=True, slots=True)
class AnnotatedPair:
    """One image: `jpeg` bytes, complete `human` captions, right but hasty `web` texts, `wrong` ones, questions."""

    jpeg: bytes
    human: tuple[str, ...]
    web: tuple[str, ...]
    wrong: tuple[str, ...]
    questions: tuple[tuple[str, str], ...]  # with the answer of each


def annotated_pairs(n: int, seed: int, side: int = 96) -> Iterator[AnnotatedPair]:
    """`n` images; the same seed gives the same ones. Each bears 3 human, 2 web and 4 wrong texts."""
    rng = np.random.default_rng(seed)
    return (_pair(random_scene(rng), rng, side) for _ in range(n))


def jpeg(scene: Scene, side: int, quality: int = 90) -> bytes:
    """The image of a scene as a JPEG file, `side` pixels wide and high."""
    stream = io.BytesIO()
    render(scene, side).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _pair(scene: Scene, rng: np.random.Generator, side: int) -> AnnotatedPair:
    return AnnotatedPair(
        jpeg=jpeg(scene, side, quality=int(rng.integers(75, 96))),
        human=tuple(paraphrase(scene, rng) for _ in range(3)),
        web=tuple(as_on_the_web(partial(scene, rng), rng) for _ in range(2)),
        wrong=tuple(as_on_the_web(text, rng) for text in wrong_texts(scene, rng, 4)),
        questions=tuple(questions(scene)),
    )

"""Images with text as the web has it: half of it tells what is to be seen, half of it does not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from capfilt.demo.world.boilerplate import boilerplate
from capfilt.demo.world.language import (
    describe,
    half_sentence,
    is_right,
    other_caption,
    paraphrase,
    partial,
    wrong_detail,
)
from capfilt.demo.world.scene import Scene, pick, random_scene


@dataclass(frozen=True, slots=True)
class WebRow:
    """An image's text on the web and what is known of it.

    `truth` is the canonical caption of the image, `right` what the rule of `language` says of `text`, and `kind` how
    the text came about: paraphrase, partial, swapped (another image's), boilerplate, half (a half sentence) or detail
    (one detail is wrong).
    """

    name: str
    text: str
    truth: str
    right: bool
    kind: str


def web_rows(n: int, seed: int) -> list[tuple[Scene, WebRow]]:
    """`n` images with their rows; the same seed gives the same ones, and more of them when `n` is greater."""
    rng = np.random.default_rng(seed)
    return [_web_row(number, rng) for number in range(n)]


def _web_row(number: int, rng: np.random.Generator) -> tuple[Scene, WebRow]:
    scene = random_scene(rng)
    kind = str(rng.choice(_KINDS, p=_SHARES))
    truth = describe(scene)
    text = as_on_the_web(_WRITERS[kind](scene, rng), rng)
    return scene, WebRow(f"{number:06d}.jpg", text, truth, is_right(text, truth), kind)


def as_on_the_web(text: str, rng: np.random.Generator) -> str:
    """The text in someone's hurry: capitals, a mark at the end, a space too many."""
    text = _CASES[int(rng.integers(len(_CASES)))](text) + pick(rng, _ENDS)
    if rng.random() < 0.2:
        words = text.split(" ")
        gap = int(rng.integers(len(words)))
        text = " ".join([*words[:gap], "", *words[gap:]])
    return text


_WRITERS: Final[dict[str, Callable[[Scene, np.random.Generator], str]]] = {
    "paraphrase": paraphrase,
    "partial": partial,
    "swapped": other_caption,
    "boilerplate": lambda _, rng: boilerplate(rng),
    "half": half_sentence,
    "detail": wrong_detail,
}
_KINDS: Final = tuple(_WRITERS)
# The first two are right, so half of the texts are.
_SHARES: Final = (0.25, 0.25, 0.2, 0.15, 0.1, 0.05)
# What stands there several times is drawn so many times as often.
_CASES: Final[tuple[Callable[[str], str], ...]] = (str, str, str, str.capitalize, str.capitalize, str.title, str.upper)
_ENDS: Final = ("", "", "", "", ".", ".", "!", "...", " -")

"""Judges of a person's own that need no weights: `python:word_judge:WordJudge`."""

import os
from pathlib import Path
from typing import ClassVar

from torch import Tensor

from capfilt.models.pixels import PixelSpec


class WordJudge:
    """Scores a text by its length and the brightness of the image, so a score tells which image and text were seen."""

    name = "words"
    digest = "0a" * 6
    pixels = PixelSpec(8, "squash")
    columns: ClassVar[tuple[str, ...]] = ("words",)

    def __init__(self, placement: object) -> None:
        del placement

    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        light = images.float().mean(dim=(1, 2, 3)).tolist()
        return {"words": [[len(text) + b / 1000 for text in own] for b, own in zip(light, texts, strict=True)]}


class OtherWeights(WordJudge):
    """The same judge after another training."""

    digest = "0b" * 6


class TwoScores(WordJudge):
    """The same weights, asked for more."""

    columns: ClassVar[tuple[str, ...]] = ("one", "two")


class LoudJudge(WordJudge):
    """To SQL, its column is another judge's."""

    columns: ClassVar[tuple[str, ...]] = ("ITM",)


class TextJudge(WordJudge):
    """To SQL, its column is that of the texts."""

    columns: ClassVar[tuple[str, ...]] = ("Text",)


class BrightJudge(WordJudge):
    """A judge that raises on dark images, as a model may on some row of its own."""

    columns: ClassVar[tuple[str, ...]] = ("bright",)

    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        if float(images.float().mean(dim=(1, 2, 3)).min()) < float(os.environ.get("DARK", "0")):
            raise ValueError("too dark")
        return {"bright": super().score(images, texts)["words"]}


class DeadlyJudge(WordJudge):
    """A judge whose process is killed at its second chunk, once."""

    columns: ClassVar[tuple[str, ...]] = ("words",)

    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        seen = Path(os.environ["SEEN"])
        seen.write_text(seen.read_text() + "." if seen.exists() else ".")
        if len(seen.read_text()) == 2:
            os.kill(os.getpid(), 9)
        return super().score(images, texts)

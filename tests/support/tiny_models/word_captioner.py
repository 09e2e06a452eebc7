"""Captioners of a person's own that need no weights: `python:word_captioner:WordCaptioner`."""

import os
from pathlib import Path

from torch import Tensor

from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import Caption, Decoding


class WordCaptioner:
    """Tells the brightness of the image and the seed, so a caption tells which image and which stream it is of."""

    name = "word-captioner"
    digest = "0c" * 6
    pixels = PixelSpec(8, "squash")

    def __init__(self, placement: object) -> None:
        del placement

    def caption(self, images: Tensor, seeds: list[list[int]], prompt: str, decoding: Decoding) -> list[list[Caption]]:
        light = images.float().mean(dim=(1, 2, 3)).tolist()
        return [[self.of(b, seed) for seed in own] for b, own in zip(light, seeds, strict=True)]

    def of(self, light: float, seed: int) -> Caption:
        return Caption(f"a picture of brightness {light:.2f} told as story number {seed % 1000}", -1.0)


class OtherCaptioner(WordCaptioner):
    """Another one, whose captions of an image are all the same."""

    name, digest = "other-captioner", "0d" * 6

    def of(self, light: float, seed: int) -> Caption:
        return Caption(f"something else of brightness {light:.2f} altogether", -2.0)


class DeadlyCaptioner(WordCaptioner):
    """Its process is killed at its second chunk, once."""

    def caption(self, images: Tensor, seeds: list[list[int]], prompt: str, decoding: Decoding) -> list[list[Caption]]:
        seen = Path(os.environ["SEEN"])
        seen.write_text(seen.read_text() + "." if seen.exists() else ".")
        if len(seen.read_text()) == 2:
            os.kill(os.getpid(), 9)
        return super().caption(images, seeds, prompt, decoding)

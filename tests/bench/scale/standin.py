"""The timed stand-in for models: it sleeps, and says the same of every picture. For this bench alone."""

import os
import time
from typing import Any

from torch import Tensor

from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import Caption, Decoding, ImageInput

SECONDS = float(os.environ.get("STANDIN_SECONDS", "0.004"))
"""That a picture takes."""

PIXELS = PixelSpec(int(os.environ.get("STANDIN_SIDE", "32")))


class Sleeper:
    """A captioner that sleeps."""

    name = "sleeper"
    digest = "0" * 12
    pixels = PIXELS

    def __init__(self, *_: Any) -> None:
        pass

    def caption(
        self, images: ImageInput, seeds: list[list[int]], prompt: str, decoding: Decoding
    ) -> list[list[Caption]]:
        time.sleep(SECONDS * len(seeds))
        return [[Caption("a picture of something", -1.0) for _ in row] for row in seeds]


class Nodder:
    """A judge that takes no time and likes everything."""

    name = "nodder"
    digest = "0" * 12
    pixels = PIXELS
    columns = ("itm",)

    def __init__(self, *_: Any) -> None:
        pass

    def score(self, images: Tensor, texts: list[list[str]]) -> dict[str, list[list[float]]]:
        return {"itm": [[0.9 for _ in row] for row in texts]}

"""What pixels a model wants. Free of torch, so that the decode stage can ask for them without loading a model."""

from dataclasses import dataclass
from typing import Final, Literal

MIN_SIDE: Final = 32
"""Pixels that each side of a `fit` image has at least; patches of every tower known fit into it."""
MAX_ASPECT: Final = 16
"""Times the longer side of a `fit` image may be the shorter one; models refuse slimmer ones, so these are widened."""

Box = tuple[float, ...]
"""Four numbers: left, top, right, bottom of a part of an image, as shares of its width and height."""


@dataclass(frozen=True, slots=True)
class PixelSpec:
    """An RGB image, 3 bytes a pixel.

    `squash` resizes both sides to `size` whatever the aspect (BLIP); `crop` resizes the shorter side and cuts the
    center (CLIP); `fit` keeps the aspect, the longer side has at most `size` pixels (models that take any shape).
    Resampling is antialiased, as Pillow does it.
    """

    size: int
    mode: Literal["squash", "crop", "fit"] = "squash"
    resample: Literal["bicubic", "bilinear"] = "bicubic"

    @property
    def name(self) -> str:
        """What the stage calls the column: `squash-384`."""
        return f"{self.mode}-{self.size}" + ("" if self.resample == "bicubic" else f"-{self.resample}")

    @property
    def bytes(self) -> int:
        """Bytes of one image, at most."""
        return self.size * self.size * 3

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of what an image of that size becomes."""
        if self.mode != "fit":
            return self.size, self.size
        scale = min(1.0, self.size / max(width, height))
        longest = max(MIN_SIDE, round(max(width, height) * scale))
        shortest = max(MIN_SIDE, -(-longest // MAX_ASPECT))
        return max(shortest, round(width * scale)), max(shortest, round(height * scale))

    def box(self, box: Box, width: int, height: int) -> Box:
        """A box of an image of that size as one of what the model sees of it; without area where that is nothing."""
        if self.mode != "crop":
            return box
        (left, right), (top, bottom) = self._kept(width, height), self._kept(height, width)
        ends = zip(box, (left, top, left, top), (right, bottom, right, bottom), strict=True)
        return tuple(min(max((value - first) / (last - first), 0.0), 1.0) for value, first, last in ends)

    def _kept(self, length: int, other: int) -> tuple[float, float]:
        """From where to where along one side a center crop keeps an image, as shares."""
        resized = int(self.size * length / min(length, other))
        begin = round((resized - self.size) / 2)
        return begin / resized, (begin + self.size) / resized

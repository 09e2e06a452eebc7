"""Random crops and mirror images, drawn from a training's own random numbers, so that it resumes to the bit."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

TRIES = 10
"""Draws of a box that reaches beyond the image before the whole image is taken."""


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an image in shares of its sides, and whether it is mirrored."""

    left: float
    top: float
    width: float
    height: float
    mirrored: bool = False


@dataclass(frozen=True, slots=True)
class Crops:
    """Which crops are drawn: an area of at least `least`, an aspect of 3/4 to 4/3, mirrored half of the time."""

    least: float = 1.0
    mirrored: bool = False

    def draw(self, count: int, generator: torch.Generator) -> list[Box]:
        """A box for each of so many images."""
        return [self._one(generator) for _ in range(count)]

    def _one(self, generator: torch.Generator) -> Box:
        numbers = torch.rand(TRIES, 4, generator=generator).tolist()
        mirrored = self.mirrored and torch.rand((), generator=generator).item() < 0.5
        if self.least >= 1:
            return Box(0, 0, 1, 1, mirrored)
        for area, aspect, x, y in numbers:
            surface = self.least + (1 - self.least) * area
            ratio = math.exp(math.log(4 / 3) * (2 * aspect - 1))
            width, height = math.sqrt(surface * ratio), math.sqrt(surface / ratio)
            if width <= 1 and height <= 1:
                return Box(x * (1 - width), y * (1 - height), width, height, mirrored)
        return Box(0, 0, 1, 1, mirrored)


def cropped(images: Tensor, boxes: Sequence[Box]) -> Tensor:
    """uint8 [B, S, S, 3] -> uint8 [B, S, S, 3], each image cut to its box and resized (bicubic, antialiased)."""
    return torch.stack([_cut(image, box) for image, box in zip(images, boxes, strict=True)])


def _cut(image: Tensor, box: Box) -> Tensor:
    side = image.shape[0]
    left, top = round(box.left * side), round(box.top * side)
    right, bottom = (
        max(left + 1, round((box.left + box.width) * side)),
        max(top + 1, round((box.top + box.height) * side)),
    )
    part = image[top:bottom, left:right]
    if part.shape[:2] != image.shape[:2]:
        channels = part.permute(2, 0, 1)[None].float()
        resized = F.interpolate(channels, (side, side), mode="bicubic", antialias=True, align_corners=False)
        part = resized[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)
    return part.flip(1) if box.mirrored else part

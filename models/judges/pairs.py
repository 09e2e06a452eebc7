"""Texts of many images, flattened for a model and folded back."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class TwoTowers(Protocol):
    """A model that puts images and texts into one space, each by itself."""

    def image_features(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] -> [B, E] of length 1."""

    def text_features(self, texts: Sequence[str]) -> Tensor:
        """M texts -> [M, E] of length 1."""


def cosines(towers: TwoTowers, images: Tensor, texts: list[list[str]]) -> list[list[float]]:
    """Cosine of every text of every image; an image goes through its tower once, and so does a text."""
    flat, places = flatten(texts)
    if not flat:
        return [[] for _ in texts]
    image, text = towers.image_features(images), towers.text_features(flat)
    return fold((image[owners(texts)] * text[places]).sum(-1), texts)


def flatten(texts: list[list[str]]) -> tuple[list[str], list[int]]:
    """Every text once, and for each text of each image, one after another, where it stands among them."""
    flat = [text for own in texts for text in own]
    place = {text: number for number, text in enumerate(dict.fromkeys(flat))}
    return list(place), [place[text] for text in flat]


def owners(texts: list[list[str]]) -> list[int]:
    """For each text, one after another, the number of its image."""
    return [image for image, own in enumerate(texts) for _ in own]


def fold(scores: Tensor, texts: list[list[str]]) -> list[list[float]]:
    """One score a text, one after another -> one list an image."""
    values = iter(scores.float().tolist())
    return [[next(values) for _ in own] for own in texts]

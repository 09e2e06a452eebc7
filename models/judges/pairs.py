"""Texts of many images, flattened for a model and folded back."""

from torch import Tensor


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

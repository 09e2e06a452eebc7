"""Does a captioner caption? Asked before a run is planned or its first picture is seen, on two plain ones.

A BLIP that was pretrained but not fine-tuned to caption says "dai dai dai" to everything, and nothing in its files
tells it from one that was. It costs one batch of two pictures with one caption each.
"""

import re
from typing import Final

import torch
from torch import Tensor

from capfilt.core.errors import ModelError
from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import Captioner, Decoding, ImageInput

_ONE_UNIT: Final = re.compile(r"(.{1,24}?)\1{2,}")


def probe(captioner: Captioner, prompt: str, decoding: Decoding) -> None:
    """Let a captioner describe two plain pictures.

    Raises:
        ModelError: it says one word over and over to both; names it and quotes it.
    """
    captions = captioner.caption(plain_pictures(captioner.pixels), [[1], [2]], prompt, decoding)
    texts = [own[0].text for own in captions]
    if all(map(is_one_word_again_and_again, texts)):
        raise ModelError(
            f"captioner {captioner.name!r} says {texts[0][:40]!r} to a plain picture: "
            "it was pretrained, or trained for something else, but not to caption"
        )


def is_one_word_again_and_again(text: str) -> bool:
    """Whether the whole text is one word or syllable, three times or more."""
    return bool(_ONE_UNIT.fullmatch("".join(text.split())))


def plain_pictures(spec: PixelSpec) -> ImageInput:
    """A red square on white, and a green ground under a blue sky."""
    width, height = spec.shape(spec.size, spec.size)
    square = torch.full((height, width, 3), 255, dtype=torch.uint8)
    square[height // 4 : height * 3 // 4, width // 4 : width * 3 // 4] = torch.tensor([220, 30, 30], dtype=torch.uint8)
    horizon = torch.zeros(height, width, 3, dtype=torch.uint8)
    horizon[: height // 2] = torch.tensor([90, 160, 230], dtype=torch.uint8)
    horizon[height // 2 :] = torch.tensor([60, 140, 50], dtype=torch.uint8)
    pictures: list[Tensor] = [square, horizon]
    return pictures if spec.mode == "fit" else torch.stack(pictures)

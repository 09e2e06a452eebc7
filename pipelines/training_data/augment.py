"""Images as a training shows them: cropped, mirrored, changed a little, another way each time they come.

What becomes of an image depends on the seed, the step and its place in the whole batch alone: any number of workers,
and a training that resumes, show the same.

BLIP's code crops the file and scales the crop; here the crop is of the square that was decoded, which is coarser.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from capfilt.pipelines.training_data.pixel_store import Pixels

SIDED: Final = re.compile(
    r"\b(left|right|links?|rechts?|linke\w*|rechte\w*|gauche|droite?|izquierd\w+|derech\w+|sinistr\w+|destr\w+|esquerd\w+"
    r"|direit\w+|лев\w+|прав\w+|слева|справа)\b|左|右",
    re.IGNORECASE,
)
"""Words of texts that are wrong for the mirrored image."""

GRAY: Final = (128, 128, 128)
"""What an image is filled up with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What is done to images."""

    crop: float = 0.0  # smallest share of the area that is shown; 0 = all of it, always
    flip: bool = False  # mirrored half of the time, where no text says left or right
    changes: int = 0  # of `CHANGES` an image, each done half of the time

    def __bool__(self) -> bool:
        return bool(self.crop or self.flip or self.changes)


def augment(images: Pixels, texts: Sequence[str], how: Augmentation, key: tuple[int, ...], first: int = 0) -> Pixels:
    """uint8 [b, S, S, 3] -> the same shape.

    Args:
        texts: of each image, all of them joined.
        key: seed and step.
        first: place of the first image in the whole batch.
    """
    found = np.empty_like(images)
    for row, (pixels, text) in enumerate(zip(images, texts, strict=True)):
        rng = np.random.default_rng((*key, first + row))
        image = _crop(Image.fromarray(pixels), how.crop, rng) if how.crop else Image.fromarray(pixels)
        if rng.random() < 0.5 and how.flip and not SIDED.search(text):
            image = ImageOps.mirror(image)
        for number in rng.integers(len(CHANGES), size=how.changes):
            if rng.random() < 0.5:
                image = CHANGES[number](image, 1.0 if rng.random() < 0.5 else -1.0)
        found[row] = np.asarray(image)
    return found


def _crop(image: Image.Image, least: float, rng: np.random.Generator) -> Image.Image:
    """A part of random area and shape (3:4 to 4:3), scaled to the whole; RandomResizedCrop of torchvision."""
    side = image.width
    for _ in range(10):
        area, ratio = rng.uniform(least, 1) * side * side, math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        width, height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < width <= side and 0 < height <= side:
            x, y = int(rng.integers(side - width + 1)), int(rng.integers(side - height + 1))
            return image.resize((side, side), Image.Resampling.BICUBIC, box=(x, y, x + width, y + height))
    return image


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    return image.transform(
        image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.BILINEAR, fillcolor=GRAY
    )


# RandAugment with BLIP's set of changes at half of their full strength (its magnitude 5 of 10), where brightness and
# sharpness would stay as they are; they are changed by a fifth here.
CHANGES: Final[tuple[Callable[[Image.Image, float], Image.Image], ...]] = (
    lambda image, sign: image,
    lambda image, sign: ImageOps.autocontrast(image),
    lambda image, sign: ImageOps.equalize(image),
    lambda image, sign: ImageEnhance.Brightness(image).enhance(1 + 0.2 * sign),
    lambda image, sign: ImageEnhance.Sharpness(image).enhance(1 + 0.2 * sign),
    lambda image, sign: _affine(image, 1, 0.15 * sign, 0, 0, 1, 0),
    lambda image, sign: _affine(image, 1, 0, 0, 0.15 * sign, 1, 0),
    lambda image, sign: _affine(image, 1, 0, image.width * sign / 40, 0, 1, 0),
    lambda image, sign: _affine(image, 1, 0, 0, 0, 1, image.width * sign / 40),
    lambda image, sign: image.rotate(15 * sign, Image.Resampling.BILINEAR, fillcolor=GRAY),
)


def shown_texts(words: Sequence[object], wrong: Sequence[Sequence[str]]) -> list[str]:
    """All that is said of each image of a draw in one string: its text (or question and answers), and wrong ones."""
    return [" ".join([str(own), *more]) for own, more in zip(words, wrong, strict=True)]

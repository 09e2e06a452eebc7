"""Many files -> what there is to say of each, and its pixels; one decode a file."""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from capfilt.core.config import AS_THEY_CAME, DecodeSettings, OutputSettings
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.imaging.fingerprints.color_layout import color_layout
from capfilt.pipelines.imaging.fingerprints.phash import SIDE, phash, thumbnail
from capfilt.pipelines.imaging.geometry.resize import fitted, square
from capfilt.pipelines.imaging.image_file import BadImage, DecodedImage, load_image, read_header
from capfilt.pipelines.imaging.pillow import pillow_rules
from capfilt.pipelines.imaging.pixel_budget import PixelBudget
from capfilt.pipelines.imaging.stored_file import resized, stored_file

PIXELS_AT_ONCE: Final = 100_000_000
"""Pixels all threads together decode at the same time; `decode.max_pixels` where that is more.

That is about 0.8 GB, with WebP 1.6 GB. What malloc keeps for each thread comes on top, unless the environment sets
PILLOW_BLOCK_SIZE=64m or MALLOC_ARENA_MAX=1.
"""

OVERSAMPLING: Final = 3
"""A JPEG is decoded at a scale that leaves this many times the pixels asked for along the shorter side; with 3, the
square differs from one made of the full image by about 1 of 255 (root mean square over photos), with 2 by 3."""

Canvases = Mapping[PixelSpec, NDArray[np.uint8]]
"""For each PixelSpec [rows, spec.bytes]; a `fit` image fills the beginning of its row."""


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The values of `schema.IMAGE_FACTS` for one image, and how it had to be turned."""

    sha256: str
    width: int
    height: int
    format: str
    phash: int
    phash_mirrored: int
    color_layout: bytes
    orientation: int  # of EXIF, 1 = the file has the image upright; not a column
    stored: bytes | None = None  # the file to store; None = the one that was fetched


Outcome = ImageFacts | BadImage

File = bytes | memoryview
"""All bytes of a file; a view where they lie in a table, for they are most of a chunk."""


def decode_images(
    rows: Iterable[int],
    image: Callable[[int], bytes],
    canvases: Canvases,
    settings: DecodeSettings,
    threads: int | None,
    output: OutputSettings = AS_THEY_CAME,
    *,
    busy: Callable[[int, bool], None],
    tell: Callable[[int, Outcome], None],
) -> None:
    """Decode the images of rows, and draw them on the canvases.

    Args:
        image: the file of a row.
        threads: images at once, by default the CPUs of the machine but at most 8. The result does not depend on it.
        output: what is stored of every image.
        busy: hears when work on a row begins, and when it stops to wait for room. Both are called by any thread.
        tell: hears what came out of a row.
    """
    room = PixelBudget(max(PIXELS_AT_ONCE, settings.max_pixels))

    def outcome_of(file: ImageFile.ImageFile, row: int, data: bytes) -> ImageFacts:
        facts = None
        for scale in _by_scale(file, canvases, output):
            header = file if facts is None else read_header(data, settings)
            picture = load_image(header, data, settings, scale.side)
            _draw(picture, scale.canvases, row)
            facts = facts or _facts(picture, data)
            if scale.stores:
                facts = replace(facts, stored=stored_file(picture, header, output, settings))
        assert facts is not None
        return facts

    def look(row: int) -> None:
        data = image(row)
        busy(row, True)
        try:
            file = read_header(data, settings)
            busy(row, False)
            with room.held(file.width * file.height + _enlarged(file, output)):
                busy(row, True)
                outcome: Outcome = outcome_of(file, row, data)
        except BadImage as bad:
            outcome = bad
        tell(row, outcome)

    with pillow_rules(settings.max_pixels), ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1)) as pool:
        for _ in pool.map(look, rows):
            pass


@dataclass(slots=True)
class _Scale:
    """What is made from one decoding of a file."""

    side: int  # least pixels of its shorter side
    canvases: dict[PixelSpec, NDArray[np.uint8]]
    stores: bool = False


def _by_scale(file: ImageFile.ImageFile, canvases: Canvases, output: OutputSettings) -> list[_Scale]:
    """The decodings of a file, the largest first: pixels made for one model never depend on what others want.

    What is stored comes last: facts are made from the first decoding, and do not depend on it either.
    """
    scales: dict[int, _Scale] = {}

    def one(side: int) -> _Scale:
        return scales.setdefault(_scale(file, side), _Scale(side, {}))

    for spec in sorted(canvases, key=lambda spec: -spec.size):
        one(OVERSAMPLING * max(SIDE, spec.size)).canvases[spec] = canvases[spec]
    if not canvases:
        one(OVERSAMPLING * SIDE)
    if output.pixels == "resized":
        size = resized(output, *file.size)
        one(OVERSAMPLING * min(size) if size else min(file.size)).stores = True
    return list(scales.values())


def _enlarged(file: ImageFile.ImageFile, output: OutputSettings) -> int:
    """Pixels that are made to store it."""
    size = resized(output, *file.size) if output.pixels == "resized" else None
    return size[0] * size[1] if size else 0


def _scale(file: ImageFile.ImageFile, side: int) -> int:
    """By how much `load_image` scales a file down while it decodes it: only a JPEG, by 1, 2, 4 or 8."""
    if file.format not in ("JPEG", "MPO"):
        return 1
    # As libjpeg's scaling goes, and as Pillow's `draft` chooses.
    return next(scale for scale in (8, 4, 2, 1) if scale == 1 or min(file.size) // side >= scale)


def _draw(picture: DecodedImage, canvases: Canvases, row: int) -> None:
    for spec, canvas in canvases.items():
        pixels = np.asarray(_resized(picture, spec)).reshape(-1)
        canvas[row, : len(pixels)] = pixels


def _resized(picture: DecodedImage, spec: PixelSpec) -> Image.Image:
    if spec.mode == "fit":
        return fitted(picture.image, spec, picture.width, picture.height)
    return square(picture.image, spec)


def _facts(picture: DecodedImage, data: bytes) -> ImageFacts:
    small = thumbnail(picture.image)
    return ImageFacts(
        hashlib.sha256(data).hexdigest(),
        picture.width,
        picture.height,
        picture.format,
        phash(small),
        phash(ImageOps.mirror(small)),
        color_layout(small),
        picture.orientation,
    )

"""Squares of pixels: as Pillow and torchvision make them, and never a detour over a gigantic picture."""

from typing import Literal

import numpy as np
import pytest
from cykooz_resizer import CpuExtensions
from PIL import Image

from capfilt.core.config import DecodeSettings
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.imaging.geometry import resize
from capfilt.pipelines.imaging.geometry.resize import square
from capfilt.pipelines.stages.decode import decode
from decoding import rows_of
from pictures import encoded
from waiting import at_most_cpu

SIZES = [(300, 200), (200, 300), (224, 224), (641, 427), (50, 30), (999, 225), (224, 225), (37, 41)]


def noise(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(width * height)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def by_pillow(
    picture: Image.Image, size: tuple[int, int], filter: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """Width first, as Pillow did up to version 12, and torchvision does on tensors; Pillow 13 chooses."""
    return picture.resize((size[0], picture.height), filter).resize(size, filter)


def difference(a: Image.Image, b: Image.Image) -> int:
    return int(np.abs(np.asarray(a).astype(int) - np.asarray(b)).max())


@pytest.mark.parametrize("filter", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [16, 48, 224])
@pytest.mark.parametrize("shape", SIZES)
def test_squash_is_the_resize_of_pillow(
    shape: tuple[int, int], size: int, filter: Literal["bicubic", "bilinear"]
) -> None:
    picture = noise(*shape)
    expected = by_pillow(picture, (size, size), Image.Resampling[filter.upper()])
    assert difference(square(picture, PixelSpec(size, resample=filter)), expected) <= 2


@pytest.mark.parametrize("size", [16, 48, 224])
def test_crop_as_torchvision_does_it(size: int) -> None:
    from torchvision import transforms

    for shape in SIZES:
        picture = noise(*shape)
        short = min(shape)
        resized = by_pillow(picture, (int(size * shape[0] / short), int(size * shape[1] / short)))
        assert resized.size == transforms.Resize(size)(picture).size
        expected = transforms.CenterCrop(size)(resized)
        assert difference(square(picture, PixelSpec(size, "crop")), expected) <= 2, shape


@pytest.mark.parametrize("mode", ["squash", "crop"])
def test_pixels_are_the_same_whatever_the_processor_can_do(mode: Literal["squash", "crop"]) -> None:
    pictures = [noise(*shape) for shape in SIZES]
    fastest = [np.asarray(square(picture, PixelSpec(48, mode))) for picture in pictures]
    able, resize._RESIZERS.own.cpu_extensions = resize._RESIZERS.own.cpu_extensions, CpuExtensions.none
    try:
        plain = [np.asarray(square(picture, PixelSpec(48, mode))) for picture in pictures]
    finally:
        resize._RESIZERS.own.cpu_extensions = able
    assert able != CpuExtensions.none
    assert all(np.array_equal(a, b) for a, b in zip(fastest, plain, strict=True))


@pytest.mark.parametrize("shape", [(90, 900), (900, 90), (50, 1401), (1401, 50)])
def test_crop_of_long_pictures_is_the_centre(shape: tuple[int, int]) -> None:
    y, x = np.mgrid[0 : shape[1], 0 : shape[0]] / 20
    smooth = Image.fromarray(np.uint8(128 + 100 * np.stack([np.sin(x), np.sin(y), np.cos(x + y)], -1)))
    wide, high = int(40 * shape[0] / min(shape)), int(40 * shape[1] / min(shape))
    left, top = round((wide - 40) / 2), round((high - 40) / 2)
    expected = smooth.resize((wide, high), Image.Resampling.BICUBIC).crop((left, top, left + 40, top + 40))
    assert difference(square(smooth, PixelSpec(40, "crop")), expected) <= 1


@pytest.mark.parametrize("shape", [(30_000, 1), (1, 30_000), (9_999, 3)])
@pytest.mark.parametrize("mode", ["squash", "crop"])
def test_a_thread_of_a_picture(shape: tuple[int, int], mode: str) -> None:
    spec = PixelSpec(384, "crop" if mode == "crop" else "squash")
    with at_most_cpu(seconds=1):
        assert square(Image.new("RGB", shape, "red"), spec).getextrema() == ((255, 255), (0, 0), (0, 0))


def test_the_column_is_rows_of_rgb() -> None:
    picture = noise(40, 30)
    out = decode(
        rows_of(encoded(picture, "PNG"), b"", encoded(picture, "BMP")), DecodeSettings(), [PixelSpec(20), PixelSpec(10)]
    )
    for size in (20, 10):
        expected = np.asarray(square(picture, PixelSpec(size))).tobytes()
        assert out[f"pixels:squash-{size}"].to_pylist() == [expected, None, expected]

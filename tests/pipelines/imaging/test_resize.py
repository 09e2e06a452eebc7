"""Squares of pixels: as Pillow and torchvision make them, and never a detour over a gigantic picture."""

import numpy as np
import pytest
from PIL import Image

from capfilt.core.config import DecodeSettings
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.imaging.resize import square
from capfilt.pipelines.stages.decode import decode
from decoding import rows_of
from pictures import encoded
from waiting import at_most_cpu

SIZES = [(300, 200), (200, 300), (224, 224), (641, 427), (50, 30), (999, 225), (224, 225), (37, 41)]


def noise(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(width * height)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def difference(a: Image.Image, b: Image.Image) -> int:
    return int(np.abs(np.asarray(a).astype(int) - np.asarray(b)).max())


@pytest.mark.parametrize("size", [16, 48, 224])
@pytest.mark.parametrize("shape", SIZES)
def test_squash(shape: tuple[int, int], size: int) -> None:
    picture = noise(*shape)
    assert difference(square(picture, PixelSpec(size)), picture.resize((size, size), Image.Resampling.BICUBIC)) == 0


@pytest.mark.parametrize("size", [16, 48, 224])
def test_crop_as_torchvision_does_it(size: int) -> None:
    from torchvision import transforms

    steps = [transforms.Resize(size, transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(size)]
    for shape in SIZES:
        picture = noise(*shape)
        assert difference(square(picture, PixelSpec(size, "crop")), transforms.Compose(steps)(picture)) == 0, shape


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
        expected = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC)).tobytes()
        assert out[f"pixels:squash-{size}"].to_pylist() == [expected, None, expected]

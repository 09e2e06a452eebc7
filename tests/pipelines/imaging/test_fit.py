"""Pictures in their own shape, for models that take any."""

import numpy as np
import pytest
from PIL import Image

from capfilt.core.config import DecodeSettings
from capfilt.models.pixels import MAX_ASPECT, MIN_SIDE, PixelSpec
from capfilt.pipelines.stages.caption import image_input
from capfilt.pipelines.stages.decode import decode
from decoding import rows_of
from pictures import encoded

SPEC = PixelSpec(96, "fit")


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ((300, 200), (96, 64)),
        ((200, 300), (64, 96)),
        ((96, 96), (96, 96)),
        ((80, 50), (80, 50)),  # never enlarged
        ((5, 3), (32, 32)),  # but to the least that a model takes
        ((1000, 10), (96, 32)),
        ((10_000, 1), (96, 32)),
    ],
)
def test_the_longer_side_is_at_most_so_long(size: tuple[int, int], shape: tuple[int, int]) -> None:
    assert SPEC.shape(*size) == shape


@pytest.mark.parametrize("size", [(1, 1), (65_000, 1), (1, 65_000), (4096, 4096), (4097, 33), (768, 47)])
def test_no_shape_is_too_small_or_too_slim_for_a_model(size: tuple[int, int]) -> None:
    width, height = PixelSpec(768, "fit").shape(*size)
    assert MIN_SIDE <= min(width, height) <= max(width, height) <= 768
    assert max(width, height) <= MAX_ASPECT * min(width, height)


def test_pictures_come_back_in_their_shapes() -> None:
    random = np.random.default_rng(1)
    sizes = [(300, 200), (40, 70), (96, 96)]
    made = [Image.fromarray(random.integers(0, 256, (h, w, 3), dtype=np.uint8)) for w, h in sizes]
    rows = decode(
        rows_of(encoded(made[0], "PNG"), b"no", encoded(made[1], "PNG"), encoded(made[2], "BMP")),
        DecodeSettings(),
        [SPEC],
    )
    assert rows["pixels:fit-96"].to_pylist()[1] is None
    found = image_input(rows, SPEC, [0, 2, 3])
    assert [tuple(picture.shape) for picture in found] == [(64, 96, 3), (70, 40, 3), (96, 96, 3)]
    expected = made[0].resize((96, 64), Image.Resampling.BICUBIC)
    assert np.abs(found[0].numpy().astype(int) - np.asarray(expected)).max() <= 2
    assert np.array_equal(found[1].numpy(), np.asarray(made[1]))


def test_a_reduced_jpeg_has_the_shape_of_the_full_one() -> None:
    picture = Image.linear_gradient("L").resize((2001, 1333)).convert("RGB")
    rows = decode(
        rows_of(encoded(picture, "JPEG", quality=95)), DecodeSettings(), [PixelSpec(64, "fit"), PixelSpec(32)]
    )
    (found,) = image_input(rows, PixelSpec(64, "fit"), [0])
    expected = np.asarray(picture.resize((64, 43), Image.Resampling.BICUBIC)).astype(int)
    assert tuple(found.shape) == (43, 64, 3)
    assert np.abs(found.numpy() - expected).mean() < 1.5


def test_bilinear_is_another_column() -> None:
    assert PixelSpec(224, "crop").name == "crop-224"
    assert PixelSpec(224, "crop", "bilinear").name == "crop-224-bilinear"

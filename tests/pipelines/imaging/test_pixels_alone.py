"""A model's pixels depend on that model alone, whatever else a recipe names (the scale of a JPEG is chosen by size)."""

import io

import numpy as np
import pytest
from PIL import Image

from capfilt.core.config import DecodeSettings
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.imaging.decode_images import Canvases, decode_images

SPECS = [PixelSpec(224, "crop"), PixelSpec(384, "squash"), PixelSpec(768, "fit"), PixelSpec(48, "squash")]


def large(format: str, **more: object) -> bytes:
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(0, 256, (60, 90, 3), dtype=np.uint8))
    file = io.BytesIO()
    coarse.resize((3600, 2400), Image.Resampling.BICUBIC).save(file, format, **more)
    return file.getvalue()


def pixels(data: bytes, specs: list[PixelSpec]) -> Canvases:
    canvases = {spec: np.zeros((1, spec.bytes), np.uint8) for spec in specs}
    decode_images([0], lambda _: data, canvases, DecodeSettings(), 1, busy=lambda *_: None, tell=lambda *_: None)
    return canvases


@pytest.mark.slow
@pytest.mark.parametrize("data", [large("JPEG", quality=90), large("PNG", compress_level=1)], ids=["JPEG", "PNG"])
def test_pixels_do_not_depend_on_the_company(data: bytes) -> None:
    together = pixels(data, SPECS)
    for spec in SPECS:
        assert np.array_equal(pixels(data, [spec])[spec], together[spec]), spec
    assert np.array_equal(pixels(data, SPECS[::-1])[SPECS[0]], together[SPECS[0]])

"""output.pixels = "resized": what is stored is what img2dataset's Resizer makes; what is said of an image is not."""

import importlib.util
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image

from capfilt.core.config import DecodeSettings, OutputSettings
from capfilt.core.schema import IMAGE_FACTS
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.stages.decode import decode
from decoding import rows_of

HERE = DecodeSettings(isolate=False)
SPECS = [PixelSpec(48), PixelSpec(32, "crop")]
MODES = ["no", "keep_ratio", "keep_ratio_largest", "center_crop", "border"]
SHAPES = [(320, 213), (301, 500), (90, 60), (33, 211)]
Resizer = Callable[..., Callable[[io.BytesIO], tuple[Any, ...]]]


@pytest.fixture(scope="module")
def resizer() -> Resizer:
    """img2dataset's, out of its file: the package itself takes 700 MB."""
    package = importlib.util.find_spec("img2dataset")
    assert package is not None
    assert package.submodule_search_locations
    path = Path(package.submodule_search_locations[0], "resizer.py")
    spec = importlib.util.spec_from_file_location("img2dataset_resizer", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.setenv("NO_ALBUMENTATIONS_UPDATE", "1")
        spec.loader.exec_module(module)

    def make(**how: Any) -> Callable[[io.BytesIO], tuple[Any, ...]]:
        resize = module.Resizer(**how)

        def call(stream: io.BytesIO) -> tuple[Any, ...]:
            with warnings.catch_warnings():  # it calls albumentations by old names
                warnings.simplefilter("ignore")
                found: tuple[Any, ...] = resize(stream)
            assert found[-1] is None, found[-1]
            return found

        return call

    return make


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Soft colors with noise: differences of a filter show, and JPEG does not hide them."""
    random = np.random.default_rng(width * height)
    coarse = Image.fromarray(random.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noisy = soft + random.integers(-20, 21, soft.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).convert(mode)


def encoded(image: Image.Image, format: str = "PNG", **how: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, format, **how)
    return target.getvalue()


def pixels(data: bytes) -> NDArray[np.int16]:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)


def output(**settings: Any) -> OutputSettings:
    return OutputSettings(pixels="resized", **settings)


def stored(data: bytes, settings: OutputSettings, decoding: DecodeSettings = HERE) -> dict[str, Any]:
    row: dict[str, Any] = decode(rows_of(data), decoding, SPECS, output=settings).to_pylist()[0]
    return row


@pytest.mark.parametrize("only_if_bigger", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_what_is_stored_is_what_img2dataset_stores(resizer: Resizer, mode: str, only_if_bigger: bool) -> None:
    how: dict[str, Any] = {"resize_mode": mode, "resize_only_if_bigger": only_if_bigger, "image_size": 96}
    ours = output(**how, encode_format="png", encode_quality=1)
    theirs = resizer(**how, encode_format="png", encode_quality=1)
    for shape in SHAPES:
        data = encoded(picture(*shape))
        wanted, found = pixels(theirs(io.BytesIO(data))[0]), pixels(stored(data, ours)["image"])
        assert found.shape == wanted.shape, (mode, shape)
        assert np.abs(found - wanted).max() <= 1, (mode, shape)


@pytest.mark.parametrize(("format", "name"), [("jpg", "JPEG"), ("webp", "WEBP"), ("png", "PNG")])
def test_files_are_encoded_in_the_same_format_and_quality(resizer: Resizer, format: str, name: str) -> None:
    data, quality = encoded(picture(400, 300)), 9 if format == "png" else 80
    how: dict[str, Any] = {"resize_mode": "keep_ratio", "image_size": 120}
    how |= {"resize_only_if_bigger": True, "encode_format": format, "encode_quality": quality}
    theirs, ours = resizer(**how)(io.BytesIO(data))[0], stored(data, output(**how))["image"]
    assert Image.open(io.BytesIO(ours)).format == name
    assert np.abs(pixels(ours) - pixels(theirs)).mean() < 1
    assert 0.9 < len(ours) / len(theirs) < 1.1


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        (encoded(picture(90, 60), "JPEG"), True),
        (encoded(picture(90, 60), "PNG"), False),  # another format
        (encoded(picture(300, 200), "JPEG"), False),  # another size
    ],
)
def test_skip_reencode_keeps_a_file_that_would_not_change(resizer: Resizer, data: bytes, kept: bool) -> None:
    how: dict[str, Any] = {"resize_mode": "keep_ratio", "image_size": 96, "resize_only_if_bigger": True}
    assert (resizer(**how, skip_reencode=True)(io.BytesIO(data))[0] == data) is kept
    assert (stored(data, output(**how, skip_reencode=True))["image"] == data) is kept


def test_a_large_jpeg_is_decoded_at_a_scale_and_looks_alike(resizer: Resizer) -> None:
    data = encoded(picture(1200, 900), "JPEG", quality=95)
    how: dict[str, Any] = {"resize_mode": "keep_ratio", "image_size": 96, "resize_only_if_bigger": True}
    png = {"encode_format": "png", "encode_quality": 1}
    wanted = pixels(resizer(**how, **png)(io.BytesIO(data))[0])
    found = pixels(stored(data, output(**how, **png))["image"])
    assert found.shape == wanted.shape
    assert np.sqrt(np.mean(np.square(found - wanted, dtype=np.float64))) < 1.5


def test_transparent_and_turned_images_are_stored_as_models_see_them() -> None:
    clear = picture(90, 60, "RGBA")
    clear.putalpha(0)
    how = output(image_size=90, skip_reencode=True, encode_format="png", encode_quality=1)
    assert pixels(stored(encoded(clear), how)["image"]).min() == 255
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(picture(90, 60), "JPEG", exif=exif)
    row = stored(turned, output(image_size=30))
    assert (row["width"], row["height"]) == (60, 90)
    assert pixels(row["image"]).shape == (45, 30, 3)


@pytest.mark.parametrize("mode", MODES)
def test_facts_and_pixels_stay_those_of_the_file_that_came(mode: str) -> None:
    files = [encoded(picture(1200, 900), "JPEG"), encoded(picture(90, 60)), b"no image"]
    plain = decode(rows_of(*files), HERE, SPECS)
    made = decode(rows_of(*files), HERE, SPECS, output=output(resize_mode=mode, image_size=64))
    names = [*IMAGE_FACTS.names, "reason", "detail", *(f"pixels:{spec.name}" for spec in SPECS)]
    assert made.select(names).equals(plain.select(names))
    assert made["image"].null_count == 1
    assert not set(made["image"].to_pylist()[:2]) & set(files)


def test_the_decoding_process_stores_the_same_bytes() -> None:
    rows = rows_of(encoded(picture(200, 100)), encoded(picture(20, 10), "JPEG"), b"")
    how = output(image_size=32, skip_reencode=True)
    alone: pa.Table = decode(rows, DecodeSettings(), SPECS, output=how)
    assert alone.equals(decode(rows, HERE, SPECS, output=how))
    assert alone["image"][1].as_py() == rows["image"][1].as_py()


def test_an_image_that_would_grow_too_large_is_a_failure() -> None:
    slim = encoded(Image.new("RGB", (4000, 2)))
    row = stored(slim, output(image_size=500, resize_only_if_bigger=False))
    assert (row["reason"], row["image"]) == ("too_many_pixels", None)
    assert row["detail"] == "1000000 x 500 pixels to store; decode.max_pixels is 100000000"
    long = stored(encoded(Image.new("1", (70_000, 1))), output(resize_mode="no"))
    assert long["detail"] == "70000 x 1 pixels to store; a jpg holds 65500 a side"

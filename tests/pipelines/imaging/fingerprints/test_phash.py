"""The perceptual hash: near for pictures that look alike, far for others, the same on every machine."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from capfilt.pipelines.imaging.fingerprints.phash import phash


def distance(a: Image.Image, b: Image.Image) -> int:
    return (phash(a) ^ phash(b)).bit_count()


def waves(seed: int) -> Image.Image:
    """A smooth picture, 400 x 300, of a few random waves a channel."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:300, 0:400] / 400
    channels = [
        sum(np.sin(2 * np.pi * (fx * x + fy * y) + p) for fx, fy, p in random.uniform(-4, 4, (5, 3))) for _ in range(3)
    ]
    return Image.fromarray(np.uint8(np.clip(128 + 40 * np.stack(channels, -1), 0, 255)))


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


@pytest.mark.parametrize("seed", range(8))
def test_resized_and_compressed_pictures_stay_near(seed: int) -> None:
    picture = waves(seed)
    assert distance(picture, picture.resize((150, 110))) <= 6
    assert distance(picture, picture.resize((800, 800))) <= 6
    assert distance(picture, jpeg(picture, 30)) <= 6


def test_other_pictures_are_far() -> None:
    pictures = [waves(seed) for seed in range(12)]
    distances = [distance(a, b) for i, a in enumerate(pictures) for b in pictures[:i]]
    assert min(distances) >= 12
    assert 25 < np.mean(distances) < 39


def test_against_the_definition() -> None:
    """The sum of the DCT-II written out, coefficient by coefficient."""
    picture = waves(99).resize((32, 32), Image.Resampling.BOX)
    luma = np.asarray(picture.convert("L"), dtype=float)
    n = (2 * np.arange(32) + 1) * np.pi / 64
    norm = [np.sqrt((1 if k == 0 else 2) / 32) for k in range(8)]
    low = [
        norm[u] * norm[v] * (np.outer(np.cos(u * n), np.cos(v * n)) * luma).sum() for u in range(8) for v in range(8)
    ]
    bits = "".join("1" if value > np.median(low) else "0" for value in low)
    assert f"{phash(picture):064b}" == bits


@pytest.mark.parametrize("color", ["black", "white", "teal"])
def test_plain_pictures_hash_alike(color: str) -> None:
    assert phash(Image.new("RGB", (100, 70), color)) == (0 if color == "black" else 1 << 63)


def test_the_hash_of_a_known_picture_never_changes() -> None:
    y, x = np.mgrid[0:64, 0:64]
    picture = Image.fromarray(np.stack([x * 4, y * 4, (x * y) % 256], -1).astype(np.uint8))
    assert phash(picture) == 0x80021F3F3F3E7C38


@pytest.mark.slow
def test_photos(shared_data: Path) -> None:
    paths = sorted((shared_data / "photos").rglob("*.jpg"))[:60]
    photos = [Image.open(path).convert("RGB") for path in paths]
    for photo in photos:
        half = photo.resize((photo.width // 2, photo.height // 2), Image.Resampling.BICUBIC)
        assert distance(photo, jpeg(half, 70)) <= 6
    distances = np.array([distance(a, b) for i, a in enumerate(photos) for b in photos[:i]])
    assert np.quantile(distances, 0.01) > 10
    assert abs(distances.mean() - 32) < 4

"""Dual encoders learn which text an image has, from a few plain images; with texts of other images they do not."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from capfilt.models.registry.registry import Placement, load_judge
from capfilt.training.recipes import load_training
from capfilt.training.train import Request, train
from pictures import encoded
from plain_grounds import COLORS

CAPTIONS = [f"a {name} ground" for name in COLORS]
COMMON = ("schedule.steps=60", "schedule.batch=16", "model.image_size=24", "work.seed=1")


def write(path: Path, shift: int) -> Path:
    """96 noisy grounds, each with its caption, or with that of the color `shift` places on, by turns."""
    rng, rows = np.random.default_rng(0), []
    for number in range(96):
        color = list(COLORS.values())[number % 8]
        pixels = np.clip(np.array(color) + rng.normal(0, 12, (24, 24, 3)), 0, 255).astype(np.uint8)
        text = CAPTIONS[(number + shift * (number // 8)) % 8]
        rows.append({"image": encoded(Image.fromarray(pixels), "PNG"), "captions": [{"text": text, "source": "human"}]})
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def accuracy(folder: Path) -> float:
    """Share of the colors whose own caption a judge scores highest."""
    judge = load_judge(str(folder), Placement(device="cpu"))
    images = torch.tensor(list(COLORS.values()), dtype=torch.uint8)[:, None, None].expand(-1, 24, 24, -1)
    scores = torch.tensor(judge.score(images, [CAPTIONS] * 8)["clip"])
    return float((scores.argmax(1) == torch.arange(8)).double().mean())


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("clip")
    data = write(home / "right.parquet", 0)
    train(Request("clip", (str(data),), home / "clip", load_training("small", "clip", COMMON)))
    return home


def test_clip_learns(clip: Path) -> None:
    assert accuracy(clip / "clip") == 1.0


def test_siglip_learns(clip: Path, tmp_path: Path) -> None:
    data = str(clip / "right.parquet")
    train(Request("siglip", (data,), tmp_path / "siglip", load_training("small", "siglip", COMMON)))
    assert accuracy(tmp_path / "siglip") >= 0.875


def test_texts_learn_to_fit_a_locked_tower(clip: Path, tmp_path: Path) -> None:
    data, settings = str(clip / "right.parquet"), (*COMMON, "schedule.steps=30", f"model.vision={clip / 'clip'}")
    train(Request("lit", (data,), tmp_path / "lit", load_training("small", "lit", settings)))
    assert accuracy(tmp_path / "lit") >= 0.875


def test_texts_of_other_images_teach_nothing(tmp_path: Path) -> None:
    data = write(tmp_path / "shifted.parquet", 3)
    train(Request("clip", (str(data),), tmp_path / "out", load_training("small", "clip", COMMON)))
    assert accuracy(tmp_path / "out") <= 0.5

"""Alpha-CLIP learns to look where a box is, and drops wrong region captions of a run; not so with shuffled boxes."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from capfilt.commands.run import run
from capfilt.core.errors import InputError
from capfilt.core.schema import TEXT
from capfilt.core.storage import Folder
from capfilt.models.pixels import Box
from capfilt.models.registry.registry import Placement, load_judge
from capfilt.pipelines.query import run_query
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.training.recipes import load_training
from capfilt.training.train import Request, train
from pictures import encoded
from plain_grounds import COLORS as GROUNDS

COLORS = dict(list(GROUNDS.items())[:6])
CAPTIONS = [f"a {name} ground" for name in COLORS]
LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
SIDE = 32


def halves(left: int, right: int, seed: int) -> Image.Image:
    """A noisy picture of one color on the left and another on the right."""
    pixels = np.zeros((SIDE, SIDE, 3))
    pixels[:, : SIDE // 2], pixels[:, SIDE // 2 :] = list(COLORS.values())[left], list(COLORS.values())[right]
    noise = np.random.default_rng(seed).normal(0, 12, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def write(path: Path, boxes: Sequence[tuple[Box, Box]]) -> Path:
    """96 pictures of two colors, with a caption of each side and the boxes by turns; without boxes, of one color."""
    rows = []
    for number in range(96):
        left = number % 6
        right = (left + 1 + number // 6 % 5) % 6 if boxes else left
        own = boxes[number // 6 % len(boxes)] if boxes else [None]
        captions = [
            {"text": CAPTIONS[color], "source": "human", "box": box}
            for color, box in zip((left, right), own, strict=bool(boxes))
        ]
        rows.append({"image": encoded(halves(left, right, number), "PNG"), "captions": captions})
    pq.write_table(pa.Table.from_pylist(rows, pa.schema([("image", pa.binary()), ("captions", pa.list_(TEXT))])), path)
    return path


def trained(system: str, data: Path, out: Path, *settings: str) -> Path:
    recipe = load_training("small", system, ("schedule.batch=16", "schedule.steps=40", "work.seed=1", *settings))
    train(Request(system, (str(data),), out, recipe))
    return out


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("clip")
    return trained("clip", write(home / "whole.parquet", []), home / "clip", f"model.image_size={SIDE}")


def follows(folder: Path) -> float:
    """Share of pictures of two colors in which either color's text fits its own side better than the other."""
    judge: Any = load_judge(str(folder), Placement(device="cpu"))
    places = [(left, right) for left in range(6) for right in range(6) if left != right]
    pixels = torch.stack([torch.from_numpy(np.array(halves(*place, seed=1000 + n))) for n, place in enumerate(places)])
    texts = [[CAPTIONS[color] for color in place for _ in range(2)] for place in places]
    scores = judge.score_regions(pixels, texts, [[LEFT, RIGHT, LEFT, RIGHT]] * len(places))["clip"]
    right = [(a > b, d > c) for a, b, c, d in scores]
    return float(np.mean(right))


@pytest.fixture(scope="module")
def judge(clip: Path) -> Path:
    data = write(clip.parent / "regions.parquet", [(LEFT, RIGHT)])
    return trained("alpha-clip", data, clip.parent / "judge", f"model.start={clip}")


def test_a_score_follows_the_box(judge: Path) -> None:
    assert follows(judge) > 0.9


def test_boxes_of_other_texts_teach_nothing(clip: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "shuffled.parquet", [(LEFT, RIGHT), (RIGHT, LEFT)])
    assert follows(trained("alpha-clip", data, tmp_path / "judge", f"model.start={clip}")) < 0.75


def test_whole_images_are_scored_as_by_the_clip_it_starts_from(clip: Path, judge: Path) -> None:
    pixels = torch.stack([torch.from_numpy(np.array(halves(n, n, seed=n))) for n in range(6)])
    before, after = (
        load_judge(str(one), Placement(device="cpu")).score(pixels, [CAPTIONS] * 6) for one in (clip, judge)
    )
    assert after == before


def test_a_run_drops_the_wrong_captions_of_regions(judge: Path, tmp_path: Path) -> None:
    document = []
    for number in range(12):
        left, right, wrong = number % 6, (number + 1) % 6, (number + 3) % 6
        halves(left, right, 2000 + number).resize((96, 64)).save(tmp_path / f"{number}.png")
        phrases = [(left, 0), (right, 48), (wrong, 0), (left, 48)]
        regions = [{"phrase": CAPTIONS[c], "x": x, "y": 0, "width": 48, "height": 64} for c, x in phrases]
        document.append({"id": number, "file_name": f"{number}.png", "regions": regions})
    (tmp_path / "region_descriptions.json").write_text(json.dumps(document))
    settings = ("caption.n=0", f"score.judges=['region={judge}']", "engine.kind=local", "decode.isolate=false")
    half = ("select.policy=quantile", "select.judge=clip_region", "select.fraction=0.5")
    run([str(tmp_path)], str(tmp_path / "out"), load_recipe("blip", (*settings, *half)))
    asked = "SELECT candidate, keep FROM captions JOIN decisions USING (uid, candidate)"
    told = run_query(Folder.at(tmp_path / "out"), asked).to_pylist()
    assert len(told) == 48
    assert sum(row["keep"] == (row["candidate"] < 2) for row in told) >= 46
    corpus = run_query(
        Folder.at(tmp_path / "out"), "SELECT unnest(captions, recursive := true) FROM corpus"
    ).to_pylist()
    assert {tuple(row["box"]) for row in corpus} == {LEFT, RIGHT}


def test_data_without_boxes_are_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no caption has a box \(captions\.box\)"):
        trained("alpha-clip", clip.parent / "whole.parquet", tmp_path / "out", f"model.start={clip}")

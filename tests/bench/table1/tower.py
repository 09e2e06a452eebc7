"""Where every image tower starts: it sees what is there and has no words for it, as BLIP's starts from ImageNet's ViT.

It is taught on pictures of its own, by classes without names: which shape, size, colour and ground.
"""

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from material import SIDE, draw
from steps import DEVICE, SHAPE
from torch import Tensor, nn
from torch.nn import functional as F

from capfilt.demo.world.scene import BACKGROUNDS, COLORS, SHAPES, SIZES, Scene, render
from capfilt.models.med.config import SIZES as MED_SIZES
from capfilt.models.med.vision import VisionTransformer
from capfilt.models.normalize import normalize
from capfilt.models.training.settings import AdamW, Schedule

PICTURES: Final = 12_000
STEPS: Final = 2_000
BATCH: Final = 128
CLASSES: Final = (tuple(SHAPES), tuple(SIZES), tuple(COLORS), tuple(BACKGROUNDS))


def tower_that_sees(path: Path) -> dict[str, Tensor]:
    """The weights of the one tower that all models start with, from a file; it is made where there is none."""
    if not path.is_file():
        torch.manual_seed(0)
        config = replace(MED_SIZES["med-tiny"], **SHAPE)
        tower = VisionTransformer(config)
        print(f"the image tower knows {100 * teach_classes(tower, config.vision_width, 0):.1f} % of shapes", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(tower.cpu().state_dict(), path)
    weights: dict[str, Tensor] = torch.load(path, weights_only=True)
    return weights


def teach_classes(tower: VisionTransformer, width: int, seed: int, steps: int = STEPS) -> float:
    """Train a tower in place, by linear layers on [CLS]; the share of 1,000 held-out pictures whose shape it knows."""
    rng = np.random.default_rng([seed, 3])
    scenes = [draw(rng) for _ in range(PICTURES)]
    pixels = torch.from_numpy(np.stack([np.array(render(scene, SIDE)) for scene in scenes]))
    labels = torch.tensor([_classes(scene) for scene in scenes])
    head = nn.Linear(width, sum(map(len, CLASSES)))
    both = nn.ModuleList((tower, head)).to(DEVICE)
    pixels, labels = pixels.to(DEVICE), labels.to(DEVICE)
    optimizer, schedule = AdamW().build(both), Schedule(steps=steps, rate=2e-3)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate_at(step)
        rows = torch.from_numpy(rng.integers(0, PICTURES - 1_000, BATCH)).to(DEVICE)
        parts = head(tower(normalize(pixels[rows], torch.float32))[:, 0]).split(list(map(len, CLASSES)), 1)
        losses = [F.cross_entropy(part, labels[rows, number]) for number, part in enumerate(parts)]
        optimizer.zero_grad()
        torch.autograd.backward(torch.stack(losses).sum())
        nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        optimizer.step()
    with torch.no_grad():
        said = head(tower(normalize(pixels[-1_000:], torch.float32))[:, 0])[:, : len(SHAPES)].argmax(1)
    return float((said == labels[-1_000:, 0]).float().mean())


def _classes(scene: Scene) -> tuple[int, ...]:
    thing = scene.things[0]
    said = (thing.shape, thing.size, thing.color, scene.background)
    return tuple(names.index(name) for names, name in zip(CLASSES, said, strict=True))

"""What a filter knows comes from pairs: with features, texts or weights exchanged, it falls to chance."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from capfilt.models.judges.med import MedJudge
from capfilt.models.judges.retrieval import rank, recall
from capfilt.models.med.config import SIZES
from capfilt.models.med.frozen_tower import FrozenFeatures, FrozenTower
from capfilt.models.med.model import MED
from capfilt.models.systems.med.task import MEDTask
from capfilt.models.tokenizer import Tokenizer
from capfilt.models.training.batch import Batch
from capfilt.models.training.settings import Objectives

COLORS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
TEXTS = [f"{left} beside {right}" for left, right in product(COLORS, COLORS)]
SIDE = 8


class Network(nn.Module):
    """A frozen tower that nobody trained: colors stay apart in its features."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 16, 4, stride=4)

    def forward_features(self, pixels: Tensor) -> Tensor:
        return self.conv(pixels).relu()


def images(seed: int) -> Tensor:
    """One image uint8 [S, S, 3] of every text, with noise: its left half and its right half are of one color each."""
    halves = torch.tensor([[*COLORS[left], *COLORS[right]] for left, right in product(COLORS, COLORS)]).view(-1, 2, 3)
    flat = halves.repeat_interleave(SIDE // 2, 1)[:, None].expand(-1, SIDE, -1, -1)
    noise = torch.randint(-25, 26, flat.shape, generator=torch.Generator().manual_seed(seed))
    return (flat + noise).clamp(0, 255).to(torch.uint8)


def new_filter(seed: int) -> tuple[MED, Tokenizer]:
    torch.manual_seed(seed)
    tokenizer = Tokenizer.from_words(TEXTS)
    shape = {"text_width": 32, "text_layers": 1, "text_heads": 2, "text_ffn": 64, "projection": 16}
    tower = FrozenTower(FrozenFeatures(Network(), (0.5,) * 3, (0.5,) * 3), SIDE)
    on_tower = {"tower": "timm:network", "image_size": SIDE, "patch_size": 4, "vision_width": 16, "vision_heads": 1}
    return MED(replace(SIZES["med-tiny"], vocab_size=len(tokenizer), **on_tower, **shape), tower), tokenizer


def trained(shuffled: bool) -> MedJudge:
    """A filter that learned the images with their texts, or with texts that are dealt out anew at each step."""
    model, tokenizer = new_filter(0)
    task = MEDTask(model, tokenizer, Objectives(itc=1.0, itm=1.0))
    optimizer = torch.optim.AdamW(task.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    for step in range(150):
        order = torch.randperm(len(TEXTS), generator=generator) if shuffled else torch.arange(len(TEXTS))
        loss, _ = task(Batch(images(step % 4), [TEXTS[number] for number in order], step=step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return MedJudge("filter", "0" * 12, model.eval(), tokenizer, "enc")


def random_filter(seed: int) -> MedJudge:
    model, tokenizer = new_filter(seed)
    return MedJudge("filter", "0" * 12, model.eval(), tokenizer, "enc")


def areas(judge: MedJudge, pixels: Tensor) -> dict[str, float]:
    """AUC of both scores, of new images with their own texts and all others; beside R@1."""
    scores = {name: torch.tensor(rows) for name, rows in judge.score(pixels, [TEXTS] * len(pixels)).items()}
    own = torch.eye(len(TEXTS), dtype=torch.bool)
    found = {name: float((rows[own][:, None] > rows[~own]).double().mean()) for name, rows in scores.items()}
    ranks = rank(judge, lambda: [pixels], TEXTS, range(len(TEXTS)), 8)
    return found | {"tr@1": recall(ranks.of_images, 1), "ir@1": recall(ranks.of_texts, 1)}


@pytest.fixture(scope="module")
def judge() -> MedJudge:
    return trained(shuffled=False)


def test_a_filter_that_learned_the_pairs_tells_right_from_wrong(judge: MedJudge) -> None:
    found = areas(judge, images(99))
    assert min(found["itm"], found["itc"]) > 0.85
    assert min(found["tr@1"], found["ir@1"]) > 0.6


def test_with_the_features_of_other_images_it_falls_to_chance(judge: MedJudge) -> None:
    order = torch.randperm(len(TEXTS), generator=torch.Generator().manual_seed(1))
    at_chance(areas(judge, images(99)[order]))


def test_with_texts_of_other_images_it_learns_nothing_of_their_own() -> None:
    at_chance(areas(trained(shuffled=True), images(99)))


def test_a_filter_of_random_weights_is_at_chance() -> None:
    found = [areas(random_filter(seed), images(99)) for seed in range(1, 6)]
    at_chance({name: sum(one[name] for one in found) / len(found) for name in found[0]})


def at_chance(found: dict[str, float]) -> None:
    """Within what nine images leave to chance."""
    assert 0.3 < found["itm"] < 0.7, found
    assert 0.3 < found["itc"] < 0.7, found
    assert max(found["tr@1"], found["ir@1"]) < 0.35, found

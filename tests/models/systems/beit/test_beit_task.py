"""BEiT: blocks of hidden patches, visual tokens out of a teacher's features, and the library's own loss."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capfilt.models.normalize import CLIP_MEAN, CLIP_STD, normalize
from capfilt.models.systems.beit.block_mask import block_mask
from capfilt.models.systems.beit.build import new_beit
from capfilt.models.systems.beit.codes import Codes
from capfilt.models.systems.beit.system import BEiTSize, Codebook
from capfilt.models.systems.beit.task import BEiTTask
from capfilt.models.systems.parts.tower_info import TowerInfo
from capfilt.models.training.batch import Batch
from capfilt.models.training.group import Group

ITS = TowerInfo(folder=Path(), kind="vit", side=32, patch=8, mean=CLIP_MEAN, std=CLIP_STD, files=())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("side", "ratio"), [(14, 0.4), (6, 0.4), (4, 0.1), (2, 0.05)])
def test_a_mask_hides_what_was_asked_for_in_blocks(side: int, ratio: float) -> None:
    most = max(1, round(ratio * side * side))
    masks = [block_mask(side, ratio, generator(seed)) for seed in range(100)]
    counts = [int(mask.sum()) for mask in masks]
    assert all(1 <= count <= most for count in counts)
    assert sum(counts) > 0.8 * 100 * most
    if side == 14:  # neighbors of a hidden patch are hidden far more often than by chance
        beside = torch.stack([mask.view(side, side) for mask in masks])
        both = (beside[:, :, 1:] & beside[:, :, :-1]).float().mean() / beside.float().mean()
        assert both > 0.65


def test_codes_find_the_groups_of_features_and_stay_with_them() -> None:
    middles = F.normalize(torch.randn(6, 16, generator=generator(1)), dim=-1)
    kinds = torch.arange(600) % 6
    features = middles[kinds] + 0.05 * torch.randn(600, 16, generator=generator(2))
    best = 0.0
    for seed in range(5):  # k-means may start two centers in one group
        codes = Codes(6, 16)
        codes.learn(features, generator(seed), Group())
        found = codes(features)
        commonest = [kinds[found == code].bincount(minlength=6).max() for code in range(6)]
        best = max(best, sum(map(int, commonest)) / 600)
    assert best > 0.95
    before = codes.centers.clone()
    codes.learn(features[:100], generator(9), Group())
    assert (codes.centers - before).abs().max() < 0.05
    assert torch.allclose(codes.centers.norm(dim=-1), torch.ones(6))


class Teacher(nn.Module):
    """A tower whose patch states are the mean color of each patch, spread over 12 places."""

    def forward(self, pixel_values: Tensor) -> Any:
        means = F.avg_pool2d(pixel_values, 8).flatten(2).transpose(1, 2)
        states = torch.cat((means, -means, means.roll(1, -1), means * means), dim=-1)
        return type("Output", (), {"last_hidden_state": torch.cat((states[:, :1], states), dim=1)})


def made(seed: int = 0, crop: float = 1.0) -> BEiTTask:
    torch.manual_seed(seed)
    model = new_beit(BEiTSize(image_size=32, patch_size=8, width=48, layers=2, heads=4), 4)
    model.config.drop_path_rate = 0.0
    return BEiTTask(model, Teacher(), ITS, Codes(4, 12), Codebook(teacher="x", codes=4, crop=crop), seed)


def halves(count: int, seed: int) -> Batch:
    """Images whose left half has one of four colors, and whose right half has the next one."""
    colors = torch.tensor([[200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40]], dtype=torch.uint8)
    first = torch.randint(0, 4, (count,), generator=generator(seed))
    images = torch.empty(count, 32, 32, 3, dtype=torch.uint8)
    images[:, :, :16] = colors[first][:, None, None]
    images[:, :, 16:] = colors[(first + 1) % 4][:, None, None]
    return Batch(images, [""] * count)


def test_the_loss_is_that_of_the_class_on_our_masks_and_tokens() -> None:
    task, batch = made(), halves(8, 1)
    task.eval()
    state = task.generator.get_state()
    loss, told = task(batch)
    task.generator.set_state(state)
    task.crops.draw(8, task.generator)
    masks = torch.stack([block_mask(4, 0.4, task.generator) for _ in range(8)])
    tokens = task._tokens(batch.images, step=10**9)
    found = task.model(normalize(batch.images, torch.float32), bool_masked_pos=masks, labels=tokens[masks])
    assert loss.item() == pytest.approx(found.loss.item(), abs=1e-6)
    assert told["codes_used"].item() == 1.0


def test_hidden_tokens_are_learned_from_the_patches_around_and_from_where_they_are() -> None:
    def right(shuffled: bool) -> float:
        task = made()
        task.train()
        optimizer = torch.optim.AdamW((one for one in task.parameters() if one.requires_grad), lr=3e-3)
        shares = []
        for step in range(80):
            batch = halves(32, step)
            if shuffled:  # every patch of a color of its own: nothing to learn from
                order = torch.randint(0, 4, (32, 4, 4), generator=generator(step))
                colors = batch.images[:4, 0, 0]
                batch = Batch(colors[order].repeat_interleave(8, 1).repeat_interleave(8, 2), batch.texts)
            optimizer.zero_grad()
            loss, told = task(batch)
            loss.backward()
            optimizer.step()
            shares.append(told["right"].item())
        return sum(shares[-10:]) / 10

    assert right(shuffled=False) > 0.9
    assert right(shuffled=True) < 0.6

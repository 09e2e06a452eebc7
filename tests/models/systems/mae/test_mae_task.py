"""A masked autoencoder: the library's own loss, positions that are there, and patches rebuilt from others."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from capfilt.models.normalize import normalize
from capfilt.models.systems.mae.build import new_mae
from capfilt.models.systems.mae.system import MAESize, Masking
from capfilt.models.systems.mae.task import MAETask
from capfilt.models.training.batch import Batch

TINY = MAESize(
    image_size=32, patch_size=8, width=48, layers=2, heads=4, decoder_width=32, decoder_layers=1, decoder_heads=4
)
WHOLE = Masking(crop=1.0)


def made() -> Any:
    torch.manual_seed(0)
    return new_mae(TINY)


def patterns(count: int, seed: int) -> Tensor:
    """uint8 [count, 32, 32, 3]: the same light and dark patches everywhere, in a color of each image's own."""
    light = np.random.default_rng(0).permutation(np.repeat([-45, 45], 8)).reshape(4, 4)
    color = np.random.default_rng(seed).uniform(60, 195, (count, 1, 1, 3))
    return torch.from_numpy(np.uint8(color + light.repeat(8, 0).repeat(8, 1)[None, :, :, None]))


def batch(images: Tensor) -> Batch:
    return Batch(images, [""] * len(images))


@pytest.mark.parametrize("norm", [False, True])
def test_the_loss_is_the_mean_error_of_hidden_patches(norm: bool) -> None:
    images = torch.randint(0, 256, (6, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    model = made()
    model.config.norm_pix_loss = norm
    loss, told = MAETask(model, WHOLE, seed=5)(batch(images))
    generator = torch.Generator().manual_seed(5)
    torch.rand(6 * 10, 4, generator=generator)  # the boxes of whole images
    noise = torch.rand(6, 16, generator=generator)
    found = model(normalize(images, torch.float32), noise=noise)
    hidden = noise.argsort(1).argsort(1) >= 4  # a quarter of 16 patches is seen
    assert torch.equal(found.mask.bool(), hidden)
    cut = normalize(images, torch.float32).unfold(2, 8, 8).unfold(3, 8, 8)
    patches = cut.permute(0, 2, 3, 4, 5, 1).reshape(6, 16, -1)
    if norm:
        patches = (patches - patches.mean(-1, keepdim=True)) / (patches.var(-1, keepdim=True) + 1e-6).sqrt()
    expected = ((found.logits - patches) ** 2).mean(-1)[hidden].mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    assert told["rebuild"].item() == loss.item()


def test_positions_are_sines_of_columns_then_rows() -> None:
    model = made()
    for positions, width in ((model.vit.embeddings.position_embeddings, 48), (model.decoder.decoder_pos_embed, 32)):
        assert not positions[0, 0].any()
        for row, column in ((0, 0), (0, 3), (2, 1), (3, 3)):
            rates = [10_000 ** (-k / (width // 4)) for k in range(width // 4)]
            halves = [[f(place * rate) for f in (math.sin, math.cos) for rate in rates] for place in (column, row)]
            assert torch.allclose(positions[0, 1 + 4 * row + column], torch.tensor(halves[0] + halves[1]), atol=1e-6)
        assert not positions.requires_grad


def test_linear_layers_start_as_in_the_paper() -> None:
    for name, module in made().named_modules():
        if isinstance(module, torch.nn.Linear):
            spread = math.sqrt(2 / (module.in_features + module.out_features))
            assert module.weight.std().item() == pytest.approx(spread, rel=0.08), name
            assert not module.bias.any()


def rebuilt(model: Any, images: Tensor) -> float:
    """The error of hidden patches after some steps, on images not seen."""
    task = MAETask(model, WHOLE, seed=0)
    optimizer = torch.optim.AdamW((one for one in task.parameters() if one.requires_grad), lr=3e-3)
    for step in range(100):
        optimizer.zero_grad()
        loss, _ = task(batch(patterns(32, step)))
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return float(MAETask(model, WHOLE, seed=1)(batch(images))[0])


def mean_of_visible(images: Tensor) -> float:
    """The error of a guess: everywhere the mean of the patches that are seen."""
    generator = torch.Generator().manual_seed(1)
    torch.rand(len(images) * 10, 4, generator=generator)
    hidden = torch.rand(len(images), 16, generator=generator).argsort(1).argsort(1) >= 4
    cut = normalize(images, torch.float32).unfold(2, 8, 8).unfold(3, 8, 8)
    patches = cut.permute(0, 2, 3, 4, 5, 1).reshape(len(images), 16, 64, 3)
    seen = (~hidden)[..., None, None]
    guess = (patches * seen).sum((1, 2), keepdim=True) / (seen.sum((1, 2), keepdim=True) * 64)
    return float(((patches - guess) ** 2).mean((2, 3))[hidden].mean())


def test_hidden_patches_are_rebuilt_from_where_the_others_are() -> None:
    images, model = patterns(256, 10_000), made()
    blind = copy.deepcopy(model)
    with torch.no_grad():
        blind.vit.embeddings.position_embeddings.zero_()
        blind.decoder.decoder_pos_embed.zero_()
    guess = mean_of_visible(images)
    assert rebuilt(model, images) < 0.2 * guess
    assert rebuilt(blind, images) > 0.6 * guess  # it learns the two lights, not where they are

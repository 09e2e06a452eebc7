"""Image towers of MAE, BEiT and ViT are the same function as a MED's tower with their weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from capfilt.core.errors import ConfigError
from capfilt.models.med.config import MEDConfig
from capfilt.models.med.model import MED
from capfilt.models.normalize import CLIP_MEAN, CLIP_STD
from capfilt.models.systems.beit.build import new_beit
from capfilt.models.systems.beit.system import BEiTSize
from capfilt.models.systems.mae.build import new_mae
from capfilt.models.systems.mae.system import MAESize
from capfilt.models.systems.med.start import load_vision_tower
from capfilt.models.systems.parts.folder import save_folder, squash_processor
from capfilt.models.systems.parts.tower_info import tower_info
from capfilt.models.systems.parts.towers import load_tower, vit_of_med

SHAPE = MEDConfig(
    image_size=32,
    patch_size=8,
    vision_width=48,
    vision_layers=2,
    vision_heads=4,
    text_width=32,
    text_layers=1,
    text_heads=2,
    text_ffn=64,
    vocab_size=20,
    max_positions=16,
    projection=16,
)


def spread(model: nn.Module) -> None:
    """Large random weights: at a fresh start zeros and ones would hide a name that is mixed up."""
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape) * 0.15)


def mae() -> tuple[Any, Any]:
    model = new_mae(MAESize(image_size=32, patch_size=8, width=48, layers=2, heads=4, decoder_width=32))
    spread(model)
    model.config.mask_ratio = 0.0
    order = torch.arange(16.0).expand(2, -1)  # without it the class shuffles patches even when none is hidden
    return model, lambda pixels: model.vit(pixels, noise=order).last_hidden_state


def beit() -> tuple[Any, Any]:
    model = new_beit(BEiTSize(image_size=32, patch_size=8, width=48, layers=2, heads=4), 8)
    spread(model)
    return model.eval(), lambda pixels: model.layernorm(model.beit(pixels).last_hidden_state)


@pytest.mark.parametrize("made", [mae, beit])
def test_a_med_takes_the_tower_as_it_is(made: Callable[[], tuple[Any, Any]], tmp_path: Path) -> None:
    model, states = made()
    save_folder(tmp_path, model, squash_processor(32, CLIP_MEAN, CLIP_STD))
    med = MED(SHAPE).eval()
    load_vision_tower(med, str(tmp_path))
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.allclose(med.vision(pixels), states(pixels), atol=2e-5)
        assert torch.allclose(vit_of_med(med)(pixels).last_hidden_state, states(pixels), atol=2e-5)
        assert torch.allclose(
            load_tower(tower_info(str(tmp_path)))(pixels).pooler_output, states(pixels)[:, 0], atol=2e-5
        )


def test_a_tower_that_does_not_fit_is_named(tmp_path: Path) -> None:
    model, _ = mae()
    save_folder(tmp_path, model, squash_processor(32, CLIP_MEAN, CLIP_STD))
    with pytest.raises(ConfigError, match=r"model.vision = .* is not 2 layers of width 64 on patches of 8"):
        load_vision_tower(MED(MEDConfig(**{**SHAPE.to_dict(), "vision_width": 64})), str(tmp_path))


def test_a_beit_with_relative_positions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "beit", "use_relative_position_bias": true}')
    with pytest.raises(ConfigError, match="relative positions"):
        tower_info(str(tmp_path))

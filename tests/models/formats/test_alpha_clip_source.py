"""Published weights of Alpha-CLIP give the numbers of the network that they are of."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from capfilt.core.errors import ModelError
from capfilt.models.formats.convert import convert
from capfilt.models.judges.alpha_encoder import MEAN, STD, AlphaEncoder, mask_of
from capfilt.models.judges.dual_encoder import DualEncoder
from capfilt.models.normalize import normalize
from capfilt.models.registry.registry import pixels
from capfilt.models.systems.dual.build import new_clip, processor
from capfilt.models.systems.dual.system import Contrast
from capfilt.models.systems.parts.folder import save_folder
from capfilt.models.systems.parts.words import own_words
from tiny_clip import SIZE


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CLIP with OpenAI's activation."""
    folder = tmp_path_factory.mktemp("base")
    words = own_words(["a cat on a mat"] * 2, SIZE.max_tokens)
    model = new_clip(SIZE, words, Contrast())
    model.config.vision_config.hidden_act = "quick_gelu"
    save_folder(folder, model, processor(DualEncoder(model, words), 16))
    return folder


def tower() -> Any:
    """The image tower of open_clip, which has OpenAI's names, with four channels: colors and mask."""
    torch.manual_seed(0)
    library: Any = import_module("open_clip")  # late: it takes 4 s, in every process that collects the suite
    make = library.transformer.VisionTransformer
    visual = make(16, 4, 64, 2, 1, 4.0, output_dim=16, act_layer=library.transformer.QuickGELU)
    visual.conv1 = torch.nn.Conv2d(4, 64, 4, 4, bias=False)
    for parameter in visual.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return visual.eval()


def published(visual: Any) -> dict[str, Tensor]:
    weights = {name.replace("in_proj_", "in_proj."): tensor for name, tensor in visual.state_dict().items()}
    both = weights.pop("conv1.weight")
    return weights | {"conv1.weight": both[:, :3], "conv1_alpha.weight": both[:, 3:]}


@torch.no_grad()
@pytest.mark.parametrize("wrapped", [False, True])
def test_published_weights_give_the_features_of_their_network(wrapped: bool, base: Path, tmp_path: Path) -> None:
    visual = tower()
    weights = published(visual)
    torch.save(
        {f"visual.{name}": tensor for name, tensor in weights.items()} if wrapped else weights, tmp_path / "a.pth"
    )
    assert convert(tmp_path / "a.pth", tmp_path / "out", base=base) == "Alpha-CLIP, filter"
    assert pixels(str(tmp_path / "out"), "filter").name == "squash-16"
    encoder = AlphaEncoder.load(tmp_path / "out", "cpu", torch.float32)
    images = torch.randint(0, 256, (2, 16, 16, 3), dtype=torch.uint8)
    boxes = [(0.0, 0.25, 0.5, 1.0), (0.0, 0.0, 1.0, 1.0)]
    masks = torch.stack([(mask_of(box, 16) - MEAN) / STD for box in boxes])[:, None]
    wanted = F.normalize(visual(torch.cat((normalize(images, torch.float32), masks), 1)), dim=-1)
    torch.testing.assert_close(encoder.image_features(images, boxes), wanted, rtol=0, atol=1e-5)
    whole = encoder.image_features(images[1:], [None])  # as in training, whole images have a mask of ones
    torch.testing.assert_close(whole, wanted[1:], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"proj": torch.zeros(64, 8)}, "not trained from --base: visual_projection.weight has another shape there"),
        ({"attn.lora_A": torch.zeros(2)}, r"attn.lora_A is no tensor of an Alpha-CLIP image tower"),
    ],
)
def test_weights_that_do_not_fit_are_one_line(change: dict[str, Tensor], said: str, base: Path, tmp_path: Path) -> None:
    torch.save(published(tower()) | change, tmp_path / "a.pth")
    with pytest.raises(ModelError, match=said):
        convert(tmp_path / "a.pth", tmp_path / "out", base=base)


def test_the_clip_they_were_trained_from_must_be_named(base: Path, tmp_path: Path) -> None:
    torch.save(published(tower()), tmp_path / "a.pth")
    with pytest.raises(ModelError, match="--base"):
        convert(tmp_path / "a.pth", tmp_path / "out")
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    with pytest.raises(ModelError, match="no CLIP"):
        convert(tmp_path / "a.pth", tmp_path / "out", base=other)

"""What is computed in another way for speed, against the plain way."""

import copy
from pathlib import Path

import pytest
import torch

from capfilt.models.captioners.med import MedCaptioner
from capfilt.models.judges.med import MedJudge
from capfilt.models.med.cache import SelfCache
from capfilt.models.med.linear import FEW, Linear
from capfilt.models.med.model import MED
from capfilt.models.med.ragged import Ragged
from capfilt.models.registry.registry import load_captioner, load_judge
from capfilt.models.runtime import Placement


@pytest.mark.parametrize("dtype", FEW, ids=str)
@pytest.mark.parametrize("rows", [1, 2, 33, 48, 49, 600])
def test_a_linear_layer_gives_the_same_for_few_rows_and_many(rows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = Linear(48, 70).to(dtype)
    x = torch.randn(rows, 3, 48).transpose(0, 1).to(dtype)  # not contiguous
    with torch.no_grad():
        fast = layer(x)
    plain = torch.nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double())
    assert fast.shape == (3, rows, 70)
    assert (fast - plain).abs().max() < {torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]


@pytest.mark.parametrize("dtype", FEW, ids=str)
@pytest.mark.parametrize("rows", [1, 2, 33, 600])
def test_a_packed_layer_gives_the_same(rows: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layer = Linear(48, 70).to(dtype)
    x = torch.randn(rows, 3, 48).transpose(0, 1).to(dtype)
    weight, bias = layer.weight.detach().double(), layer.bias.detach().double()
    plain = torch.nn.functional.linear(x.double(), weight, bias)
    layer.pack(few=True)
    if layer.packed is None:
        pytest.skip("this CPU does not compute in that")
    assert layer.weight.is_meta
    far = {torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    with torch.no_grad():
        assert (layer(x) - plain).abs().max() < far
        assert (layer.gelu(x) - torch.nn.functional.gelu(plain)).abs().max() < far


@pytest.mark.parametrize(("dtype", "far"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)], ids=str)
def test_a_packed_captioner_gives_the_same(med: MED, dtype: torch.dtype, far: float) -> None:
    def read(model: MED) -> torch.Tensor:
        pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1)).to(dtype)
        ids = torch.arange(5, 13).view(2, 4)
        with torch.no_grad():
            return model.lm_logits(ids, model.text.project_image_kv(model.encode_image(pixels))).float()

    side = med.config.image_size
    model = copy.deepcopy(med).to(dtype)
    plain = read(model)
    model.pack(for_captioning=True)
    if model.lm_head.packed_words is None:
        pytest.skip("this CPU does not compute in that")
    assert (read(model) - plain).abs().mean() < far * plain.abs().mean()


def test_in_float32_only_a_captioner_s_steps_are_packed(med: MED) -> None:
    judge, captioner = copy.deepcopy(med), copy.deepcopy(med)
    judge.pack()
    assert not any(layer.packed is not None for layer in judge.modules() if isinstance(layer, Linear))
    captioner.pack(for_captioning=True)
    if captioner.lm_head.packed_words is None:
        pytest.skip("this CPU gains nothing by it")
    packed = {
        name for name, layer in captioner.named_modules() if isinstance(layer, Linear) and layer.packed is not None
    }
    of_a_layer = {
        "decoder.query",
        "decoder.key",
        "decoder.value",
        "decoder.out",
        "cross.query",
        "cross.out",
        "fc1",
        "fc2",
    }
    layers = range(med.config.text_layers)
    assert packed == {f"text.layers.{n}.{part}" for n in layers for part in of_a_layer} | {"lm_head.dense"}


def test_a_gradient_goes_through_a_linear_layer() -> None:
    layer = Linear(4, 4)
    layer(torch.randn(3, 4)).sum().backward()
    assert layer.weight.grad is not None


def test_ragged_texts_come_back_as_they_were() -> None:
    mask = torch.arange(5) < torch.tensor([[5], [2], [1], [3]])
    grid = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0)) * mask[:, :, None]
    texts, images = Ragged.of(mask), Ragged.of(mask.view(2, -1))
    tokens = grid[mask]
    assert torch.equal(texts.pad(tokens), grid)
    assert torch.equal(texts.flat(grid), tokens)
    assert texts.firsts().tolist() == [0, 5, 7, 8]
    assert images.pad(tokens).shape == (2, 7, 6)  # 5 + 2 tokens side by side, 1 + 3 and padding
    assert torch.equal(images.pad(tokens)[1, :4], tokens[7:])
    assert torch.equal(images.flat(images.pad(tokens)), tokens)
    even, tokens = Ragged.of(torch.ones(4, 3, dtype=torch.bool)), torch.eye(12)  # nothing to pad
    assert torch.equal(even.pad(tokens), tokens.view(4, 3, 12))
    assert torch.equal(even.flat(even.pad(tokens)), tokens)


def test_a_summary_is_the_first_state_of_all(med: MED) -> None:
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(7, med.config.vocab_size, (6, 9), generator=generator)
    mask = torch.arange(9) < torch.tensor([8, 2, 5, 5, 1, 8])[:, None]  # a column that no text needs
    ids = ids * mask
    with torch.no_grad():
        image = med.text.project_image_kv(med.encode_image(torch.randn(3, 3, 16, 16, generator=generator)))
        for seen in (image, None):
            plain = med.text.encode(ids, mask, seen)[:, 0]
            assert (med.text.encode_first(ids, mask, seen) - plain).abs().max() < 1e-5
        assert not torch.allclose(med.text.encode_first(ids, mask, image), plain)


def test_training_reads_whole_texts_with_gradients(med: MED) -> None:
    ids = torch.randint(7, med.config.vocab_size, (2, 6), generator=torch.Generator().manual_seed(3))
    mask = torch.ones_like(ids, dtype=torch.bool)
    image = med.text.project_image_kv(med.encode_image(torch.zeros(2, 3, 16, 16)))
    med.train()
    try:
        trained = med.itm_logits(ids, mask, image)
    finally:
        med.eval()
    assert trained.requires_grad
    assert (med.itm_logits(ids, mask, image) - trained).abs().max() < 1e-5


def test_a_cache_goes_on_with_rows_dropped_and_doubled() -> None:
    cache = SelfCache(layers=2, rows=3, heads=1, length=4, head_width=2, like=torch.zeros(()))
    for token in range(2):
        for layer in range(2):
            keys = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 1, 1, 2) + 10 * token + 100 * layer
            cache.extend(layer, keys, -keys)
        cache.advance(1)
    cache.take(torch.tensor([2, 0, 2, 2]))
    new = torch.full((4, 1, 1, 2), 7.0)
    keys, values = cache.extend(1, new, -new)
    assert keys[:, 0, :, 0].tolist() == [[102, 112, 7], [100, 110, 7], [102, 112, 7], [102, 112, 7]]
    assert torch.equal(values, -keys)


@pytest.mark.parametrize("asked", [True, False])
def test_the_image_tower_is_compiled_where_that_is_asked_for(checkpoint: Path, asked: bool) -> None:
    placement = Placement(device="cpu", compile=asked)
    for loaded in (load_captioner(str(checkpoint), placement), load_judge(str(checkpoint), placement)):
        assert isinstance(loaded, MedCaptioner | MedJudge)
        tower = loaded.model.vision
        assert (tower._compiled_call_impl is not None) == asked
        side = loaded.model.config.image_size
        pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(4))
        with torch.no_grad(), torch.compiler.set_stance("force_eager"):  # a compiler is not everywhere, and is slow
            assert torch.equal(tower(pixels), tower.forward(pixels))

"""Our MED against the real `transformers` BLIP classes, with the same random weights."""

from typing import Any

import pytest
import torch

from capfilt.models.med.blip import config_of, from_blip, to_blip
from capfilt.models.med.model import MED

VISION = {
    "hidden_size": 32,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
    "initializer_range": 0.2,  # the default of 1e-10 makes a model that ignores the image
}
TEXT = {
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 120,
    "encoder_hidden_size": 32,
    "max_position_embeddings": 40,
    "bos_token_id": 5,
    "sep_token_id": 3,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}


def make(kind: str) -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.BlipConfig(vision_config=VISION, text_config=TEXT, image_text_hidden_size=24)
    return getattr(transformers, kind)(config).eval()


def ours(theirs: Any, layout: Any) -> MED:
    weights = theirs.state_dict()
    model = MED(config_of(weights, layout, 4, 4)).eval()
    missing, unexpected = model.load_state_dict(from_blip(weights, layout), strict=False)
    assert not unexpected
    other = {"captioning": ("encoder", "proj", "itm"), "retrieval": ("decoder", "lm_head")}[layout]
    assert all(name == "temperature" or any(part in name for part in other) for name in missing)
    return model


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(6, 120, (2, 7), generator=torch.Generator().manual_seed(2))


def test_captioning_logits(pixels: torch.Tensor, ids: torch.Tensor) -> None:
    theirs = make("BlipForConditionalGeneration")
    model = ours(theirs, "captioning")
    with torch.no_grad():
        states = theirs.vision_model(pixels).last_hidden_state
        assert (model.see(pixels) - states).abs().max() < 1e-4
        logits = theirs.text_decoder(input_ids=ids, encoder_hidden_states=states).logits
        assert (model.predict(ids, model.text.look(states)) - logits).abs().max() < 1e-4


def test_step_by_step_decoding_gives_the_same_logits_as_all_at_once(pixels: torch.Tensor, ids: torch.Tensor) -> None:
    model = ours(make("BlipForConditionalGeneration"), "captioning")
    with torch.no_grad():
        image = model.text.look(model.see(pixels))
        whole = model.text.decode(ids, image)
        cache = model.text.new_cache(2, ids.shape[1])
        steps = [model.text.decode(ids[:, :3], image, cache)]
        steps += [model.text.decode(ids[:, t : t + 1], image, cache) for t in range(3, ids.shape[1])]
    assert (torch.cat(steps, 1) - whole).abs().max() < 1e-4


def test_retrieval_logits_and_features(pixels: torch.Tensor, ids: torch.Tensor) -> None:
    theirs = make("BlipForImageTextRetrieval")
    model = ours(theirs, "retrieval")
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 5:] = False
    with torch.no_grad():
        out = theirs(input_ids=ids, pixel_values=pixels, attention_mask=mask.long(), use_itm_head=True)
        cosines = theirs(input_ids=ids, pixel_values=pixels, attention_mask=mask.long(), use_itm_head=False)[0]
        states = model.see(pixels)
        assert (model.match(ids, mask, model.text.look(states)) - out[0]).abs().max() < 1e-4
        assert (model.image_feature(states) @ model.text_feature(ids, mask).T - cosines).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("kind", "layout"), [("BlipForConditionalGeneration", "captioning"), ("BlipForImageTextRetrieval", "retrieval")]
)
def test_weights_go_both_ways(kind: str, layout: Any) -> None:
    theirs = make(kind)
    model = ours(theirs, layout)
    back = to_blip(model.state_dict(), layout)
    expected = {name: tensor for name, tensor in theirs.state_dict().items() if "position_ids" not in name}
    assert back.keys() == expected.keys()
    assert all(torch.equal(back[name], expected[name]) for name in expected)


def test_texts_of_one_image_side_by_side_are_judged_as_alone(pixels: torch.Tensor) -> None:
    model = ours(make("BlipForImageTextRetrieval"), "retrieval")
    ids = torch.randint(6, 120, (6, 7), generator=torch.Generator().manual_seed(3))
    mask = torch.arange(7)[None, :] < torch.tensor([7, 5, 3, 7, 6, 2])[:, None]
    with torch.no_grad():
        states = model.see(pixels)
        together = model.match(ids, mask, model.text.look(states))
        alone = [model.match(ids[i : i + 1], mask[i : i + 1], model.text.look(states[i // 3][None])) for i in range(6)]
    assert (together - torch.cat(alone)).abs().max() < 1e-5


def test_positions_are_interpolated_for_other_sizes() -> None:
    theirs = make("BlipForConditionalGeneration")
    model = ours(theirs, "captioning")
    larger = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        states = theirs.vision_model(larger, interpolate_pos_encoding=True).last_hidden_state
        assert (model.see(larger) - states).abs().max() < 1e-4

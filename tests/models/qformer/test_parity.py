"""Our Q-Former against the real `transformers` BLIP-2, with the same random weights."""

from typing import Any

import pytest
import torch

from capfilt.models.qformer.config import QFormerConfig
from capfilt.models.qformer.model import QFormer, generation_mask
from qformer_names import from_transformers


@pytest.fixture(scope="module")
def theirs() -> Any:
    import transformers

    torch.manual_seed(0)
    qformer = {
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "vocab_size": 80,
        "max_position_embeddings": 40,
        "encoder_hidden_size": 24,
        "use_qformer_text_input": True,
        "initializer_range": 0.2,
    }
    vision = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.Blip2Config(
        vision_config=vision | {"image_size": 16, "patch_size": 8},
        qformer_config=qformer,
        num_query_tokens=4,
        image_text_hidden_size=16,
    )
    model = transformers.Blip2ForImageTextRetrieval(config).eval()
    torch.nn.init.normal_(model.query_tokens)
    for name, parameter in model.named_parameters():
        if "LayerNorm" in name or "layernorm" in name:
            torch.nn.init.normal_(parameter, mean=1.0, std=0.2)
    return model


@pytest.fixture
def ours(theirs: Any, shape: QFormerConfig) -> QFormer:
    model = QFormer(shape).eval()
    missing, unexpected = model.load_state_dict(from_transformers(theirs.state_dict()), strict=False)
    assert not unexpected
    assert all(name == "temperature" or name.startswith("lm_head.") for name in missing)
    return model


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(3, 5, 24, generator=generator)
    ids = torch.randint(4, 80, (3, 7), generator=generator)
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, 4:] = False
    return states, ids, mask


def test_the_three_readings(theirs: Any, ours: QFormer) -> None:
    """Queries alone, text alone, both together; what is padding may differ."""
    states, ids, mask = inputs()
    with torch.no_grad():
        image = ours.project_image_kv(states)
        queries = theirs.query_tokens.expand(3, -1, -1)
        seen = theirs.qformer(query_embeds=queries, encoder_hidden_states=states).last_hidden_state
        assert (ours.read_image(image) - seen).abs().max() < 1e-4
        read = theirs.qformer(
            query_embeds=theirs.embeddings(input_ids=ids), query_length=0, attention_mask=mask.long()
        ).last_hidden_state
        assert (ours.read_text(ids, mask) - read)[mask].abs().max() < 1e-4
        together = theirs.qformer(
            query_embeds=theirs.embeddings(input_ids=ids, query_embeds=queries),
            query_length=4,
            attention_mask=torch.cat((torch.ones(3, 4), mask), 1).long(),
            encoder_hidden_states=states,
        ).last_hidden_state[:, :4]
        logits = theirs.itm_head(together).mean(1)
        assert (ours.itm_logits(ids, mask, image) - logits).abs().max() < 1e-4


def test_itc_features(theirs: Any, ours: QFormer) -> None:
    pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    _, ids, mask = inputs()
    with torch.no_grad():
        out = theirs(pixel_values=pixels, input_ids=ids[:2], attention_mask=mask[:2].long())
        states = theirs.vision_model(pixels).last_hidden_state
        features, text = ours.image_features(ours.project_image_kv(states)), ours.text_feature(ids[:2], mask[:2])
        cosines = torch.einsum("bqe,te->btq", features, text).max(-1).values
    assert (cosines - out.logits_per_image).abs().max() < 1e-4


def test_a_tensor_that_is_not_known_is_named() -> None:
    with pytest.raises(KeyError, match=r"qformer\.pooler"):
        from_transformers({"qformer.pooler.weight": torch.zeros(1)})


def test_the_mask_of_generation() -> None:
    assert generation_mask(2, 3, torch.device("cpu")).int().tolist() == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1],
    ]


def test_generation_sees_queries_and_earlier_text_only(ours: QFormer) -> None:
    """A later token changes no earlier logits; the image changes all; queries see no text."""
    states, ids, _ = inputs()
    other = ids.clone()
    other[:, 4] = (ids[:, 4] + 1) % 80
    with torch.no_grad():
        logits = ours.lm_logits(ids, ours.project_image_kv(states))
        changed = ours.lm_logits(other, ours.project_image_kv(states))
        elsewhere = ours.lm_logits(ids, ours.project_image_kv(states + 1))
        assert torch.equal(logits[:, :4], changed[:, :4])
        assert not torch.allclose(logits[:, 4:], changed[:, 4:])
        assert not torch.allclose(logits, elsewhere)
        step = ours.lm_logits(ids[:, :3], ours.project_image_kv(states))
    assert (step - logits[:, :3]).abs().max() < 1e-5

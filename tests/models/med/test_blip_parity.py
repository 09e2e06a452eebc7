"""Our MED against the real `transformers` BLIP classes, with the same random weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import Module

from capfilt.core.errors import ModelError
from capfilt.models.decoding.beam import Search, beam_search
from capfilt.models.decoding.sampling import sample, uniforms
from capfilt.models.med.blip import Layout, from_blip
from capfilt.models.med.cache import KeysValues
from capfilt.models.med.config import MEDConfig
from capfilt.models.med.model import MED
from capfilt.models.normalize import normalize
from capfilt.models.protocols import Decoding
from capfilt.models.registry import registry

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
    "bos_token_id": 118,  # [DEC]
    "sep_token_id": 3,
    "pad_token_id": 0,
    "initializer_range": 0.2,
}
SHAPE = MEDConfig(
    image_size=32,
    patch_size=8,
    vision_width=32,
    vision_layers=2,
    vision_heads=4,
    text_width=48,
    text_layers=3,
    text_heads=4,
    text_ffn=96,
    vocab_size=120,
    max_positions=40,
    projection=24,
)


def make(kind: str) -> Any:
    import transformers

    torch.manual_seed(0)
    config = transformers.BlipConfig(vision_config=VISION, text_config=TEXT, image_text_hidden_size=24)
    return getattr(transformers, kind)(config).eval()


def ours(theirs: Module, layout: Layout) -> MED:
    weights = theirs.state_dict()
    model = MED(SHAPE).eval()
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
        assert (model.encode_image(pixels) - states).abs().max() < 1e-4
        logits = theirs.text_decoder(input_ids=ids, encoder_hidden_states=states).logits
        assert (model.lm_logits(ids, model.text.project_image_kv(states)) - logits).abs().max() < 1e-4


def test_step_by_step_decoding_gives_the_same_logits_as_all_at_once(pixels: torch.Tensor, ids: torch.Tensor) -> None:
    model = ours(make("BlipForConditionalGeneration"), "captioning")
    with torch.no_grad():
        image = model.text.project_image_kv(model.encode_image(pixels))
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
        states = model.encode_image(pixels)
        assert (model.itm_logits(ids, mask, model.text.project_image_kv(states)) - out[0]).abs().max() < 1e-4
        assert (model.image_feature(states) @ model.text_feature(ids, mask).T - cosines).abs().max() < 1e-4


def test_texts_of_one_image_side_by_side_are_judged_as_alone(pixels: torch.Tensor) -> None:
    model = ours(make("BlipForImageTextRetrieval"), "retrieval")
    ids = torch.randint(6, 120, (6, 7), generator=torch.Generator().manual_seed(3))
    mask = torch.arange(7)[None, :] < torch.tensor([7, 5, 3, 7, 6, 2])[:, None]
    with torch.no_grad():
        states = model.encode_image(pixels)
        together = model.itm_logits(ids, mask, model.text.project_image_kv(states))
        alone = [
            model.itm_logits(ids[i : i + 1], mask[i : i + 1], model.text.project_image_kv(states[i // 3][None]))
            for i in range(6)
        ]
    assert (together - torch.cat(alone)).abs().max() < 1e-5


def test_positions_are_interpolated_for_other_sizes() -> None:
    theirs = make("BlipForConditionalGeneration")
    model = ours(theirs, "captioning")
    larger = torch.randn(1, 3, 48, 48, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        states = theirs.vision_model(larger, interpolate_pos_encoding=True).last_hidden_state
        assert (model.encode_image(larger) - states).abs().max() < 1e-4


def talkative(pixels: torch.Tensor) -> tuple[Any, MED, list[Any]]:
    """A captioner of either kind whose captions end early, late or never, and what ours sees in the pixels."""
    theirs = make("BlipForConditionalGeneration")
    with torch.no_grad():
        theirs.text_decoder.cls.predictions.bias[3] += 4.0
    model = ours(theirs, "captioning")
    with torch.no_grad():
        return theirs, model, model.text.project_image_kv(model.encode_image(pixels))


SEARCHES = [
    Search(beams=3, max_tokens=12, min_tokens=1),
    Search(beams=3, max_tokens=17, min_tokens=4, repetition_penalty=1.1),  # "a picture of" + 5 to 20, as published
    Search(beams=4, max_tokens=12, min_tokens=3, length_penalty=0.3, early_stopping=True),
    Search(beams=2, max_tokens=9, min_tokens=9, length_penalty=2.0),
]


@pytest.mark.parametrize("search", SEARCHES, ids=lambda search: f"{search.beams} beams")
@pytest.mark.parametrize("size", [32, 48])
def test_beam_search_finds_what_it_finds_in_transformers(search: Search, size: int) -> None:
    pixels = torch.randn(6, 3, size, size, generator=torch.Generator().manual_seed(8))
    theirs, model, image = talkative(pixels)
    prompt = [118, 7, 9, 11]
    with torch.no_grad():
        expected = theirs.generate(
            pixels,
            input_ids=torch.tensor([[*prompt, 3]]).expand(6, -1),
            interpolate_pos_encoding=True,
            num_beams=search.beams,
            num_return_sequences=search.beams,
            max_length=len(prompt) + search.max_tokens,
            min_length=len(prompt) + search.min_tokens - 1,  # it counts without the [SEP] that it puts off
            length_penalty=search.length_penalty,
            repetition_penalty=search.repetition_penalty,
            early_stopping=search.early_stopping,
        )[:, len(prompt) :].view(6, search.beams, -1)
        after = ((expected == 3).cumsum(2) > 1) & (expected == 3)  # it fills up with [SEP], as 0 is false
        expected = expected.masked_fill(after, 0)
        ids, logprob = beam_search(model, image, prompt, 3, search)
        assert torch.equal(ids[:, :, : expected.shape[2]], expected)
        assert not ids[:, :, expected.shape[2] :].any()
        for row, beam in ((0, 0), (5, search.beams - 1)):
            text = ids[row, beam][: int((ids[row, beam] != 0).sum())]
            one = [KeysValues(kv.keys[row : row + 1], kv.values[row : row + 1]) for kv in image]
            logits = model.lm_logits(torch.cat((torch.tensor(prompt), text))[None], one)[0, len(prompt) - 1 : -1]
            slow = logits.log_softmax(-1).gather(1, text[:, None]).sum()
            assert float(logprob[row, beam]) == pytest.approx(float(slow), abs=1e-3)
    lengths = (ids != 0).sum(2)
    assert len(lengths.unique()) > 1 or search.min_tokens == search.max_tokens  # or ends would prove nothing


def test_greedy_captions_are_those_of_transformers() -> None:
    pixels = torch.randn(5, 3, 48, 48, generator=torch.Generator().manual_seed(9))
    theirs, model, image = talkative(pixels)
    with torch.no_grad():
        start = torch.tensor([[118, 7, 3]]).expand(5, -1)
        expected = theirs.generate(pixels, input_ids=start, interpolate_pos_encoding=True, max_new_tokens=14)[:, 2:]
        decoding = Decoding(top_p=1e-6, max_tokens=14, min_tokens=0)
        ids, _ = sample(model, image, [118, 7], 3, uniforms(range(5), 14), decoding)
    assert torch.equal(ids[:, : expected.shape[1]], expected)
    assert not ids[:, expected.shape[1] :].any()


def saved(kind: str, folder: Path) -> Any:
    """A checkpoint directory as `transformers` writes it, with a vocabulary of BERT's form."""
    theirs = make(kind)
    theirs.save_pretrained(folder)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"word{n}" for n in range(113))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return theirs


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(6))


def test_a_published_captioner_writes_what_it_writes_in_transformers(tmp_path: Path, images: torch.Tensor) -> None:
    theirs = saved("BlipForConditionalGeneration", tmp_path)
    captioner = registry.load_captioner(str(tmp_path))
    greedy = Decoding(top_p=1e-6, max_tokens=12, min_tokens=0)
    ours = [row[0].text for row in captioner.caption(images, [[1], [2], [3]], "", greedy)]
    start = torch.tensor([[118, 3]]).expand(3, -1)  # [DEC], and the last token that `generate` takes off again
    with torch.no_grad():
        pixels = normalize(images, torch.float32)
        ids = theirs.generate(pixels, input_ids=start, do_sample=False, num_beams=1, max_new_tokens=12)
    words = [[f"word{token - 5}" for token in row if 5 <= token < 118] for row in ids.tolist()]
    assert ours == [" ".join(row) for row in words]
    assert len(set(ours)) > 1


def test_a_published_filter_scores_as_in_transformers_but_from_enc(tmp_path: Path, images: torch.Tensor) -> None:
    theirs = saved("BlipForImageTextRetrieval", tmp_path)
    text = "word1 word7 word99"
    for first, token in (("enc", 119), ("cls", 2)):
        judge = registry.load_judge(str(tmp_path), registry.Placement(token=first))  # type: ignore[arg-type]
        scores = judge.score(images, [[text]] * 3)
        ids = torch.tensor([[token, 6, 12, 104, 3]]).expand(3, -1)
        with torch.no_grad():
            pixels = normalize(images, torch.float32)
            itm = theirs(input_ids=ids, pixel_values=pixels, use_itm_head=True)[0].softmax(-1)[:, 1]
            plain = torch.tensor([[2, 6, 12, 104, 3]]).expand(3, -1)
            itc = theirs(input_ids=plain, pixel_values=pixels, use_itm_head=False)[0].diagonal()
        assert [row[0] for row in scores["itm"]] == pytest.approx(itm.tolist(), abs=1e-4)
        assert [row[0] for row in scores["itc"]] == pytest.approx(itc.tolist(), abs=1e-4)


def test_a_published_checkpoint_in_the_wrong_role_is_named(tmp_path: Path) -> None:
    saved("BlipForImageTextRetrieval", tmp_path / "itm")
    with pytest.raises(ModelError, match="is not a captioner; it is a filter"):
        registry.check(str(tmp_path / "itm"), "captioner")

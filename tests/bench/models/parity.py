"""Real sizes against `transformers`, fp32, the same random weights from the same directory."""

from pathlib import Path
from typing import Any

import torch
from material import SEP, pixels
from torch import Tensor

from capfilt.models.decoding.beam import Search, beam_search
from capfilt.models.decoding.sampling import sample, uniforms
from capfilt.models.formats.weights import load_med
from capfilt.models.med.model import MED
from capfilt.models.normalize import normalize
from capfilt.models.protocols import Decoding

PROMPT = [30_522, 180, 190, 200]
TOLERANCE = 1e-4


@torch.inference_mode()
def captioning(folder: Path, side: int) -> dict[str, Any]:
    """Largest differences, and whether greedy and beam captions are the same ids.

    Raises:
        AssertionError: a difference over 1e-4, or another caption.
    """
    import transformers

    theirs = transformers.BlipForConditionalGeneration.from_pretrained(folder).eval()
    model, _ = load_med(folder)
    images = normalize(pixels(2, side), torch.float32)
    expected = theirs.vision_model(images, interpolate_pos_encoding=True).last_hidden_state
    states = model.encode_image(images)
    image = model.text.project_image_kv(states)
    ids = torch.randint(200, 2000, (2, 20), generator=torch.Generator().manual_seed(3))
    logits = theirs.text_decoder(input_ids=ids, encoder_hidden_states=expected).logits
    start = torch.tensor([[*PROMPT, SEP]]).expand(2, -1)
    how = {"input_ids": start, "interpolate_pos_encoding": True}
    greedy = theirs.generate(images, **how, max_new_tokens=16, do_sample=False)
    beams = theirs.generate(images, **how, num_beams=3, max_length=20, min_length=5, repetition_penalty=1.1)
    found = {
        "image features": _far(states, expected),
        "lm logits": _far(model.lm_logits(ids, image), logits),
        "greedy": _same(_greedy(model, image, len(images)), greedy),
        "beam": _same(_beam(model, image), beams),
    }
    return _checked(found)


@torch.inference_mode()
def retrieval(folder: Path, side: int) -> dict[str, Any]:
    """Largest differences of ITC projections and ITM logits; raises as `captioning` does."""
    import transformers

    theirs = transformers.BlipForImageTextRetrieval.from_pretrained(folder).eval()
    model, _ = load_med(folder)
    images = normalize(pixels(2, side), torch.float32)
    ids = torch.randint(200, 2000, (2, 20), generator=torch.Generator().manual_seed(4))
    mask = torch.arange(20) < torch.tensor([[20], [13]])
    seen = theirs.vision_model(images, interpolate_pos_encoding=True).last_hidden_state
    text = theirs.text_encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state[:, 0]
    read = {"input_ids": ids, "attention_mask": mask.long(), "encoder_hidden_states": seen}
    fused = theirs.text_encoder(**read, encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long))
    states = model.encode_image(images)
    unit = torch.nn.functional.normalize
    found = {
        "itc image": _far(model.image_feature(states), unit(theirs.vision_proj(seen[:, 0]), dim=-1)),
        "itc text": _far(model.text_feature(ids, mask), unit(theirs.text_proj(text), dim=-1)),
        "itm logits": _far(
            model.itm_logits(ids, mask, model.text.project_image_kv(states)),
            theirs.itm_head(fused.last_hidden_state[:, 0]),
        ),
    }
    return _checked(found)


def _greedy(model: MED, image: Any, images: int) -> Tensor:
    decoding = Decoding(top_p=1e-6, max_tokens=16, min_tokens=0)
    return sample(model, image, PROMPT, SEP, uniforms(range(images), 16), decoding)[0]


def _beam(model: MED, image: Any) -> Tensor:
    least = 5 - len(PROMPT) + 1  # it counts the prompt, and not the [SEP] that it puts off
    search = Search(beams=3, max_tokens=20 - len(PROMPT), min_tokens=least, repetition_penalty=1.1)
    return beam_search(model, image, PROMPT, SEP, search)[0][:, 0]


def _far(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


def _same(ids: Tensor, theirs: Tensor) -> bool:
    """Equal up to the end of each; after [SEP] theirs is filled up with more of it."""
    theirs = theirs[:, len(PROMPT) :]
    theirs = theirs.masked_fill((theirs == SEP).cumsum(1) > 1, 0)
    return torch.equal(ids[:, : theirs.shape[1]], theirs) and not bool(ids[:, theirs.shape[1] :].any())


def _checked(found: dict[str, Any]) -> dict[str, Any]:
    assert all(value is True or (value is not False and value < TOLERANCE) for value in found.values()), found
    return found

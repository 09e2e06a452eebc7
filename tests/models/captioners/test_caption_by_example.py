"""Captions by example: what a captioner is shown before an image, in the form that its own processor has for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from capfilt.models.captioners.endpoint import EndpointCaptioner
from capfilt.models.protocols import Decoding
from capfilt.models.registry import registry
from capfilt.models.shots import Shot

Published = Callable[[str], Path]

GREEDY = Decoding(top_p=1e-6, max_tokens=8, min_tokens=0)
TEXTS = ("a dog runs on the grass", "a red bus")


def shots(width: int, height: int) -> tuple[Shot, ...]:
    return tuple(
        Shot(Image.new("RGB", (width, height), color).tobytes(), width, height, text)
        for color, text in zip(("green", "red"), TEXTS, strict=True)
    )


def images(count: int, side: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("family", ["llava", "qwen2-vl"])
def test_examples_are_turns_of_a_chat_before_the_image(published: Published, family: str) -> None:
    import transformers

    folder, seen = published(family), images(2, 32)
    captioner = registry.load_captioner(str(folder), registry.Placement(device="cpu", shots=shots(32, 32)))
    ours = [row[0].text for row in captioner.caption(list(seen), [[1], [2]], "describe this", GREEDY)]
    library: Any = transformers
    processor = library.AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"
    model = library.AutoModelForImageTextToText.from_pretrained(folder).eval()
    asked = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "describe this"}]}
    told = [{"role": "assistant", "content": [{"type": "text", "text": text}]} for text in TEXTS]
    text = processor.apply_chat_template([asked, told[0], asked, told[1], asked], add_generation_prompt=True)
    assert text.count("describe this") == 3
    before = [Image.new("RGB", (32, 32), color) for color in ("green", "red")]
    shown = [[*before, Image.fromarray(image.numpy())] for image in seen]
    inputs = processor(images=shown, text=[text] * 2, return_tensors="pt", padding=True)
    with torch.no_grad():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=8)[:, inputs["input_ids"].shape[1] :]
    assert ours == [text.strip() for text in processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]
    without = registry.load_captioner(str(folder), registry.Placement(device="cpu"))
    assert ours != [row[0].text for row in without.caption(list(seen), [[1], [2]], "describe this", GREEDY)]


def test_a_server_is_asked_with_the_examples_as_turns() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("capfilt.models.captioners.openai_client.ChatClient.model", lambda _: "tiny-vlm")
        captioner: Any = EndpointCaptioner("http://127.0.0.1:9/v1", registry.Placement(shots=shots(8, 6)))
    turns = captioner._messages({"type": "image_url"}, "what is this?")
    assert [turn["role"] for turn in turns] == ["user", "assistant"] * 2 + ["user"]
    assert [turn["content"] for turn in turns[1::2]] == list(TEXTS)
    assert all(turn["content"][1] == {"type": "text", "text": "what is this?"} for turn in turns[::2])
    assert turns[0]["content"][0] != turns[2]["content"][0]
    assert turns[4]["content"][0] == {"type": "image_url"}


@pytest.mark.parametrize(
    ("family", "template", "takes"),
    [
        ("llava", "", True),
        ("llava", "none", False),
        ("blip2", "", False),
        ("blip2", "{{ messages }}", True),
        ("blip", "", False),
    ],
)
def test_who_takes_examples_is_known_without_loading(
    published: Published, family: str, template: str, takes: bool
) -> None:
    assert registry.takes_shots(str(published(family)), registry.Placement(template=template)) == takes

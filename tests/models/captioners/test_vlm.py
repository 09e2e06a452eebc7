"""Models of `transformers` as captioners, with random weights that their own classes saved."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from capfilt.core.config import CaptionSettings, Recipe, ScoreSettings
from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.decoding.sampling import uniforms
from capfilt.models.protocols import Captioner, Decoding, ImageInput
from capfilt.models.registry import registry
from capfilt.pipelines.stages.stage_models import check_models

Published = Callable[[str], Path]

FAMILIES = ("blip2", "instructblip", "llava", "llava-next", "qwen2-vl")
DRAWN = Decoding(max_tokens=8, min_tokens=3)
GREEDY = Decoding(top_p=1e-6, max_tokens=8, min_tokens=0)
PROMPT = "describe this"


def pictures(captioner: Captioner, count: int) -> Any:
    """Noise; of any shape where the captioner takes any."""
    generator = torch.Generator().manual_seed(3)
    shapes = [(48, 64), (64, 48), (40, 40), (33, 90)]
    size = captioner.pixels.size
    made = [
        torch.randint(
            0,
            256,
            (*(shapes[n % 4] if captioner.pixels.mode == "fit" else (size, size)), 3),
            dtype=torch.uint8,
            generator=generator,
        )
        for n in range(count)
    ]
    return made if captioner.pixels.mode == "fit" else torch.stack(made)


def texts(captioner: Captioner, images: ImageInput, seeds: list[list[int]], prompt: str = PROMPT) -> list[list[str]]:
    return [[caption.text for caption in row] for row in captioner.caption(images, seeds, prompt, DRAWN)]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_same_caption_in_any_company(published: Published, family: str) -> None:
    captioner = registry.load_captioner(str(published(family)))
    images, seeds = pictures(captioner, 16), [[10 * n, 10 * n + 1] for n in range(16)]
    whole = texts(captioner, images, seeds)
    for size in (1, 3):
        parts = [texts(captioner, images[n : n + size], seeds[n : n + size]) for n in range(0, 16, size)]
        assert [row for part in parts for row in part] == whole
    turned = images[::-1] if isinstance(images, list) else images.flip(0)
    assert texts(captioner, turned, seeds[::-1])[::-1] == whole
    assert len({text for row in whole for text in row}) > 16  # or the test would prove nothing


@pytest.mark.parametrize("family", ["blip2", "llava", "llava-next", "qwen2-vl"])
def test_the_likeliest_tokens_are_those_that_transformers_finds(published: Published, family: str) -> None:
    import transformers

    folder = published(family)
    captioner = registry.load_captioner(str(folder))
    images = pictures(captioner, 3)
    ours = [row[0].text for row in captioner.caption(images, [[1], [2], [3]], PROMPT, GREEDY)]
    library: Any = transformers
    processor = library.AutoProcessor.from_pretrained(folder)
    processor.tokenizer.padding_side = "left"
    model = library.AutoModelForImageTextToText.from_pretrained(folder).eval()
    seen: list[Any] = [Image.fromarray(image.numpy()) for image in images]
    text = PROMPT
    if processor.chat_template:
        turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": PROMPT}]}]
        text, seen = processor.apply_chat_template(turns, add_generation_prompt=True), [[image] for image in seen]
    inputs = processor(images=seen, text=[text] * 3, return_tensors="pt", padding=True)
    with torch.no_grad():
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=8)[:, inputs["input_ids"].shape[1] :]
    assert ours == [text.strip() for text in processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]


def test_pictures_and_seeds_make_a_difference(published: Published) -> None:
    captioner = registry.load_captioner(str(published("llava")))
    images = pictures(captioner, 2)
    same_seed = captioner.caption(images, [[5], [5]], PROMPT, DRAWN)
    assert same_seed[0][0].text != same_seed[1][0].text
    same_picture = captioner.caption(torch.stack([images[0]] * 2), [[5], [6]], PROMPT, DRAWN)
    assert same_picture[0][0].text != same_picture[1][0].text
    assert captioner.caption(images, [[], []], PROMPT, DRAWN) == [[], []]


def test_log_probability_is_the_model_s_own_and_not_that_of_the_draw() -> None:
    """Neither temperature nor nucleus nor the shortest length are in it, and nothing after a caption's end."""
    from capfilt.models.captioners.vlm import Streams

    odd = Decoding(max_tokens=4, min_tokens=2, temperature=0.4, top_p=0.5)
    streams = Streams(uniforms([1, 2], 4), [3], odd)
    logits = torch.randn(4, 2, 12, generator=torch.Generator().manual_seed(0))
    logits[2, 0, 3] = 50.0  # row 0 ends with its third token
    forced = [streams(torch.zeros(2, 1), step.clone()) for step in logits]
    assert all(torch.equal(step.softmax(-1).max(-1).values, torch.ones(2)) for step in forced)
    (first, of_first), (second, of_second) = streams.drawn()
    assert first[-1] == 3
    assert (len(first), len(second)) == (3, 4)
    own = logits.log_softmax(-1)
    assert of_first == pytest.approx(sum(float(own[step, 0, token]) for step, token in enumerate(first)), abs=1e-5)
    assert of_second == pytest.approx(sum(float(own[step, 1, token]) for step, token in enumerate(second)), abs=1e-5)


def test_what_stands_for_an_image_is_never_written() -> None:
    from capfilt.models.captioners.vlm import Streams

    streams = Streams(uniforms([1, 2, 3], 4), [3], Decoding(max_tokens=4, min_tokens=1), banned=[5])
    logits = torch.zeros(3, 12)
    logits[:, 5] = 50.0
    for _ in range(4):
        streams(torch.zeros(3, 1), logits.clone())
    assert all(5 not in ids for ids, _ in streams.drawn())


def test_lengths_and_the_flag_of_what_was_cut(published: Published) -> None:
    captioner: Any = registry.load_captioner(str(published("blip2")))
    images = pictures(captioner, 8)
    short = Decoding(max_tokens=40, min_tokens=0, temperature=2.0)
    captions = [row[0] for row in captioner.caption(images, [[n] for n in range(8)], PROMPT, short)]
    lengths = [len(captioner.processor.tokenizer(caption.text)["input_ids"]) for caption in captions]
    ended = [caption for caption in captions if "cut" not in caption.flags]
    assert ended
    assert max(lengths) > min(lengths)
    cut = captioner.caption(images, [[n] for n in range(8)], PROMPT, Decoding(max_tokens=4, min_tokens=4))
    assert all("cut" in row[0].flags for row in cut)
    assert not any(PROMPT in row[0].text for row in cut)


def test_the_recipe_s_template_stands_in_for_the_model_s_own(published: Published) -> None:
    folder = str(published("llava"))
    other = "{% for m in messages %}look: <image>{{ m.content[1].text }} so{% endfor %}"
    images = pictures(registry.load_captioner(folder), 2)
    said = [
        texts(registry.load_captioner(folder, registry.Placement(template=template)), images, [[1], [2]], prompt)
        for template, prompt in (("", PROMPT), (other, PROMPT), ("none", "look: <image>describe this so"))
    ]
    assert said[0] != said[1]
    assert said[1] == said[2]


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_captions_too(published: Published, family: str) -> None:
    captioner = registry.load_captioner(str(published(family)), registry.Placement(dtype="bfloat16"))
    images, seeds = pictures(captioner, 3), [[1], [2], [3]]
    assert texts(captioner, images, seeds) == texts(captioner, images, seeds)


def test_pixels_are_known_without_loading(published: Published) -> None:
    names = [registry.pixels(str(published(family))).name for family in FAMILIES]
    assert names == ["squash-32", "squash-32", "crop-32", "fit-768", "fit-768"]
    smaller = registry.pixels(str(published("qwen2-vl")), "captioner", registry.Placement(max_side=96))
    assert smaller.name == "fit-96"


def test_missing_tensors_are_an_error_and_not_random_numbers(published: Published, tmp_path: Path) -> None:
    folder = published("blip2")
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    weights = load_file(folder / "model.safetensors")
    lost = weights.pop("language_projection.weight")
    assert lost.numel()
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 tensors are missing, language_projection\.weight"):
        registry.load_captioner(str(tmp_path))


def test_code_in_a_directory_is_never_run(published: Published, tmp_path: Path) -> None:
    folder = published("llava")
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    auto = {name: "evil.Model" for name in ("AutoConfig", "AutoModel", "AutoModelForImageTextToText")}
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "evil", "auto_map": auto}))
    (tmp_path / "evil.py").write_text("raise SystemExit('code was run')")
    with pytest.raises(ModelError, match=str(tmp_path)) as caught:
        registry.load_captioner(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_search_is_refused_before_the_run(published: Published) -> None:
    asked = {"captioner": str(published("qwen2-vl")), "beams": 3}
    recipe = Recipe(caption=CaptionSettings.model_validate(asked), score=ScoreSettings(judges=()))
    with pytest.raises(ConfigError, match=r"caption\.beams = 3: .*qwen2-vl supports sampling only"):
        check_models(recipe)
    check_models(Recipe(caption=CaptionSettings.model_validate(asked | {"beams": 0}), score=ScoreSettings(judges=())))

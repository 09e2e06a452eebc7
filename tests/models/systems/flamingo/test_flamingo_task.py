"""Flamingo: with shut gates it is its language model to the bit, rows are the processor's, the loss needs the image."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from capfilt.models.formats.guarded import load_part
from capfilt.models.normalize import CLIP_MEAN, CLIP_STD
from capfilt.models.systems.flamingo.build import _lock, connect, processor_of
from capfilt.models.systems.flamingo.episodes import MARKS, episode, in_episodes
from capfilt.models.systems.flamingo.system import Flamingo
from capfilt.models.systems.flamingo.task import FlamingoTask
from capfilt.models.systems.parts.folder import save_folder
from capfilt.models.systems.parts.language_info import IGNORED
from capfilt.models.systems.parts.words import ended
from capfilt.models.training.batch import Batch
from tiny_language import write_language

TEXTS = ["a red circle", "two blue squares on a white ground", "a circle", "a small red square"]
SMALL = Flamingo(latents=4, depth=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    write_language(folder, "llama")
    return folder


def parts(folder: Path) -> tuple[Any, Any, Any]:
    from transformers import AutoModelForCausalLM, CLIPVisionConfig, CLIPVisionModel

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    torch.manual_seed(0)
    tower = CLIPVisionModel(CLIPVisionConfig(image_size=16, patch_size=8, **shape, initializer_range=0.2)).eval()
    return tower, AutoModelForCausalLM.from_pretrained(folder).eval(), load_part("AutoTokenizer", folder)


def made(folder: Path) -> tuple[Any, Any]:
    tower, language, words = parts(folder)
    model = connect(tower, language, words, SMALL)
    _lock(model)
    return model, words


def images(count: int, side: int = 16) -> Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def task_of(model: Any, words: Any, count: int = 1) -> FlamingoTask:
    return FlamingoTask(model, words, count, (CLIP_MEAN, CLIP_STD), 12)


def open_gates(model: Any, by: float) -> None:
    for layer in model.model.gated_cross_attn_layers:
        layer.alpha_cross_attn.data.fill_(by)
        layer.alpha_dense.data.fill_(by)


def test_with_shut_gates_it_is_its_language_model_to_the_bit(folder: Path) -> None:
    tower, language, words = parts(folder)
    model = connect(tower, language, words, SMALL)
    ids = torch.tensor([[1, 5, 9, 20, 33, 7, 12]])
    seen = torch.ones(1, 7, 1, dtype=torch.int64)
    with torch.no_grad():
        own = language(input_ids=ids).logits
        found = model(input_ids=ids, pixel_values=torch.rand(1, 1, 3, 16, 16), image_attention_mask=seen).logits
        assert torch.equal(found[..., : language.config.vocab_size], own)
        open_gates(model, 0.5)
        found = model(input_ids=ids, pixel_values=torch.rand(1, 1, 3, 16, 16), image_attention_mask=seen).logits
        assert not torch.allclose(found[..., : language.config.vocab_size], own, atol=0.1)


def test_its_image_tower_is_the_clip_s(folder: Path) -> None:
    tower, language, words = parts(folder)
    model = connect(tower, language, words, SMALL)
    pixels = torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        by_clip = tower(pixels, output_hidden_states=True).hidden_states[-1]
        assert torch.allclose(model.model.vision_model(pixels).last_hidden_state, by_clip, atol=1e-6)


def test_an_episode_is_what_the_processor_makes_of_it(folder: Path) -> None:
    model, words = made(folder)
    processor = processor_of(model, words, CLIP_MEAN, CLIP_STD)
    own = episode(words, [ended(words, text, 12) for text in TEXTS[:2]])
    shown = Image.new("RGB", (16, 16), "red")
    said = [part for text in TEXTS[:2] for part in (shown, text + words.eos_token)]
    found = processor(text=[said], return_tensors="pt")
    assert found["input_ids"][0].tolist() == own.ids
    seen = found["image_attention_mask"][0]
    assert [number.argmax().item() if number.any() else -1 for number in seen] == own.sees
    assert [label for label in own.labels if label != IGNORED] == [
        token for text in TEXTS[:2] for token in ended(words, text, 12)
    ]
    assert own.ids[1:4] == words.convert_tokens_to_ids([MARKS[0], MARKS[1], MARKS[0]])


def test_a_text_sees_its_own_image_and_the_texts_before_it(folder: Path) -> None:
    model, words = made(folder)
    open_gates(model, 1.0)
    task, texts = task_of(model, words, 2).eval(), [ended(words, text, 12) for text in ("a circle", "a square")]
    shown = images(2)
    with torch.no_grad():
        before, labels = task.read(shown, texts)
        other_first, _ = task.read(torch.stack([images(3)[2], shown[1]]), texts)
        other_second, _ = task.read(torch.stack([shown[0], images(3)[2]]), texts)
    first = (labels[0] != IGNORED).nonzero()[: len(texts[0])].flatten() - 1
    second = (labels[0] != IGNORED).nonzero()[len(texts[0]) :].flatten() - 1
    assert torch.equal(other_second[0, first], before[0, first])
    assert not torch.allclose(other_first[0, first], before[0, first], atol=1e-3)
    assert not torch.allclose(other_second[0, second], before[0, second], atol=1e-3)


def test_the_loss_is_the_cross_entropy_of_each_text_whatever_the_episodes(folder: Path) -> None:
    model, words = made(folder)
    alone = task_of(model, words).eval()(Batch(images(4), TEXTS))[0]
    by_hand = torch.zeros(())
    count = 0
    for image, text in zip(images(4), TEXTS, strict=True):
        logits, labels = task_of(model, words).read(image[None], [ended(words, text, 12)])
        by_hand = by_hand + F.cross_entropy(logits[0, :-1], labels[0, 1:], ignore_index=IGNORED, reduction="sum")
        count += len(ended(words, text, 12))
    assert alone.item() == pytest.approx(by_hand.item() / count, abs=1e-5)


def test_rows_of_equal_lengths_come_together_and_none_is_lost() -> None:
    assert in_episodes([9, 2, 8, 3, 5], 1) == [[0], [1], [2], [3], [4]]
    assert in_episodes([9, 2, 8, 3, 5], 2) == [[1, 3], [4, 2], [0]]


def test_training_moves_what_is_new_alone_and_a_state_holds_no_more(folder: Path) -> None:
    from capfilt.models.training.frozen import locked_names

    model, words = made(folder)
    task = task_of(model, words, 2).train()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW((one for one in task.parameters() if one.requires_grad), lr=1e-2, weight_decay=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        task(Batch(images(4), TEXTS))[0].backward()
        optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    new = ("gated_cross_attn_layers", "perceiver_resampler", "additional_")
    assert all(any(part in name for part in new) for name in moved)
    assert all(any(part in name for name in moved) for part in new)
    kept = {name.removeprefix("model.") for name in set(task.state_dict()) - locked_names(task)}
    assert {name for name in kept if name in before} == {name for name in before if any(one in name for one in new)}


def test_auto_classes_load_it_and_its_output_is_the_same(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model, words = made(folder)
    open_gates(model, 0.7)
    save_folder(tmp_path, model, processor_of(model, words, CLIP_MEAN, CLIP_STD))
    loaded, found = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    shown = Image.new("RGB", (30, 20), "red")
    inputs = AutoProcessor.from_pretrained(tmp_path)(text=[[shown, "a circle"]], return_tensors="pt")
    with torch.no_grad():
        assert torch.equal(loaded.eval()(**inputs).logits, model.eval()(**inputs).logits)


def colored(step: int) -> tuple[Tensor, list[str]]:
    """Eight images of one color each, and what they show."""
    generator = torch.Generator().manual_seed(step)
    numbers = torch.randint(3, (8,), generator=generator)
    shown = torch.zeros(8, 16, 16, 3, dtype=torch.uint8)
    shown[torch.arange(8), :, :, numbers] = torch.randint(150, 256, (8, 1, 1), generator=generator).to(torch.uint8)
    return shown, [f"a {('red', 'green', 'blue')[number]} square" for number in numbers]


@pytest.mark.parametrize("nailed", [False, True])
def test_its_loss_needs_the_right_image_unless_its_gates_are_nailed_shut(folder: Path, nailed: bool) -> None:
    model, words = made(folder)
    task = task_of(model, words).train()
    if nailed:
        for name, parameter in model.named_parameters():
            if "alpha_" in name:
                parameter.requires_grad_(False)
    optimizer = torch.optim.AdamW((one for one in task.parameters() if one.requires_grad), lr=1e-2)
    for step in range(60):
        optimizer.zero_grad()
        task(Batch(*colored(step)))[0].backward()
        optimizer.step()
    shown, texts = colored(1000)
    order = sorted(range(8), key=lambda row: texts[row])
    with torch.no_grad():
        right = task.eval()(Batch(shown, texts))[0].item()
        wrong = task(Batch(shown[order].flip(0), [texts[row] for row in order]))[0].item()
    if nailed:
        assert wrong == pytest.approx(right, abs=1e-5)
    else:
        assert wrong > right + 0.2

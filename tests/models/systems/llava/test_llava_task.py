"""LLaVA: the rows of training are the processor's, the loss is the class's, stage 1 moves the connector alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from capfilt.models.formats.guarded import load_part
from capfilt.models.normalize import CLIP_MEAN, CLIP_STD, normalize
from capfilt.models.systems.llava.build import _lock, connect, processor_of
from capfilt.models.systems.llava.task import LlavaTask
from capfilt.models.systems.llava.turns import PLAIN, TALK, Turn, row
from capfilt.models.systems.parts.language_info import IGNORED
from capfilt.models.systems.parts.words import ended
from capfilt.models.training.batch import Batch, TalkBatch
from tiny_language import write_language

TEXTS = ["a red circle", "two blue squares on a white ground"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("language")
    write_language(folder, "llama")
    return folder


def made(folder: Path, linear: bool = False, tuned: bool = False) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, CLIPVisionConfig, CLIPVisionModel

    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    torch.manual_seed(0)
    tower = CLIPVisionModel(CLIPVisionConfig(image_size=16, patch_size=8, **shape)).eval()
    words = load_part("AutoTokenizer", folder)
    model = connect(tower, AutoModelForCausalLM.from_pretrained(folder).eval(), words, linear)
    _lock(model, tuned)
    return model, words


def images(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def task_of(model: Any, words: Any, turn: Turn = PLAIN) -> LlavaTask:
    return LlavaTask(model, processor_of(model, words, CLIP_MEAN, CLIP_STD, turn.template), turn, 12)


@pytest.mark.parametrize(("turn", "question"), [(PLAIN, ""), (TALK, "what color is it"), (TALK, "")])
def test_a_row_begins_as_the_processor_and_its_template_have_it(folder: Path, turn: Turn, question: str) -> None:
    model, words = made(folder)
    processor = processor_of(model, words, CLIP_MEAN, CLIP_STD, turn.template)
    own = row(words, [(turn.prefix(question), ended(words, "a red circle", 12))], 4)
    given = [token for token, label in zip(own.ids, own.labels, strict=True) if label == IGNORED]
    content = [{"type": "image"}, *([{"type": "text", "text": question}] if question else [])]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    assert text == turn.prefix(question)
    from PIL import Image

    found = processor(images=[Image.new("RGB", (30, 20))], text=[text], return_tensors="pt")
    assert found["input_ids"][0].tolist() == given
    assert given.count(model.config.image_token_index) == 4
    assert [label for label in own.labels if label != IGNORED] == own.ids[len(given) :]
    assert own.ids[-1] == words.eos_token_id


def test_a_talk_of_several_turns_stands_as_the_template_has_it(folder: Path) -> None:
    model, words = made(folder)
    processor, talk = processor_of(model, words, CLIP_MEAN, CLIP_STD, TALK.template), [("what", "red"), ("which", "a")]
    said = [(TALK.prefix(ask, not n), ended(words, told, 12)) for n, (ask, told) in enumerate(talk)]
    own = row(words, said, 4)
    turns = [[("user", ask), ("assistant", told)] for ask, told in talk]
    messages = [{"role": role, "content": [{"type": "text", "text": text}]} for turn in turns for role, text in turn]
    messages[0]["content"] = [{"type": "image"}, *messages[0]["content"]]
    text = processor.apply_chat_template(messages)
    from PIL import Image

    found = processor(images=[Image.new("RGB", (30, 20))], text=[text], return_tensors="pt")
    assert found["input_ids"][0].tolist() == own.ids
    assert own.ids.count(model.config.image_token_index) == 4
    assert [label for label in own.labels if label != IGNORED] == [id for _, told in said for id in told]


def test_the_last_turns_of_a_long_talk_are_left_out(folder: Path) -> None:
    model, words = made(folder)
    processor, batch = processor_of(model, words, CLIP_MEAN, CLIP_STD, TALK.template), [("what", [("red", 1.0)])] * 3

    def said(room: int) -> Any:
        return LlavaTask(model, processor, TALK, 12, room)._said(TalkBatch(images(1), [batch]))[0]

    two = len(row(words, said(0)[:2], 1).ids)
    assert [len(said(room)) for room in (0, 1000, two, two - 1, 1)] == [3, 3, 2, 1, 1]


def test_the_loss_is_that_of_the_class_on_the_words_that_are_learned(folder: Path) -> None:
    model, words = made(folder)
    loss, told = task_of(model, words).eval()(Batch(images(2), TEXTS))
    rows = [row(words, [(PLAIN.prefix(), ended(words, text, 12))], 4) for text in TEXTS]
    longest = max(len(one.ids) for one in rows)
    ids = torch.tensor([one.ids + [words.pad_token_id] * (longest - len(one.ids)) for one in rows])
    labels = torch.tensor([one.labels + [IGNORED] * (longest - len(one.labels)) for one in rows])
    mask = torch.tensor([[1] * len(one.ids) + [0] * (longest - len(one.ids)) for one in rows])
    pixels = normalize(images(2), torch.float32)
    expected = model(input_ids=ids, pixel_values=pixels, attention_mask=mask, labels=labels).loss
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    assert told["lm"].item() == loss.item()


def test_the_connector_reads_patches_before_the_last_layer(folder: Path) -> None:
    model, _ = made(folder, linear=True)
    pixels = normalize(images(2), torch.float32)
    states = model.model.vision_tower(pixels, output_hidden_states=True).hidden_states
    first = model.model.multi_modal_projector.linear_1
    by_hand = states[len(states) - 2][:, 1:] @ first.weight.T + first.bias
    found = torch.stack(list(model.model.get_image_features(pixels).pooler_output))
    assert torch.allclose(found, by_hand, atol=1e-6)


@pytest.mark.parametrize(
    ("linear", "tuned", "moves"),
    [
        (False, False, ("multi_modal_projector.linear_1", "multi_modal_projector.linear_2")),
        (True, False, ("multi_modal_projector.linear_1",)),
        (False, True, ("multi_modal_projector", "language_model", "lm_head")),
    ],
)
def test_a_stage_moves_its_own_parts_alone(folder: Path, linear: bool, tuned: bool, moves: tuple[str, ...]) -> None:
    model, words = made(folder, linear, tuned)
    task = task_of(model, words, TALK if tuned else PLAIN).train()
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    optimizer = torch.optim.AdamW((one for one in task.parameters() if one.requires_grad), lr=1e-2, weight_decay=0.5)
    batch: Any = Batch(images(2), TEXTS)
    if tuned:
        batch = TalkBatch(images(2), [[("what", [(TEXTS[0], 1.0)])], [("which", [(TEXTS[1], 0.5), ("red", 0.5)])]])
    for _ in range(3):
        optimizer.zero_grad()
        task(batch)[0].backward()
        optimizer.step()
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved
    assert all(any(part in name for part in moves) for name in moved)
    assert all(any(part in name for name in moved) for part in moves)


def test_a_caption_is_learned_from_its_own_image(folder: Path) -> None:
    model, words = made(folder)
    task = task_of(model, words)
    shown = torch.zeros(2, 16, 16, 3, dtype=torch.uint8)
    shown[0, :, :, 0], shown[1, :, :, 2] = 255, 255
    texts = ["a red circle", "a blue square"]
    optimizer = torch.optim.AdamW((one for one in task.parameters() if one.requires_grad), lr=2e-2)
    for _ in range(60):
        optimizer.zero_grad()
        task(Batch(shown, texts))[0].backward()
        optimizer.step()
    with torch.no_grad():
        own, exchanged = task(Batch(shown, texts))[0], task(Batch(shown.flip(0), texts))[0]
    assert exchanged - own > 0.1  # a connector that is not read would give the same

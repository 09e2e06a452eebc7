"""A step of MED: what each objective takes from a batch, and that it learns."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from capfilt.models.med.model import MED
from capfilt.models.normalize import normalize
from capfilt.models.systems.med.task import MEDTask
from capfilt.models.tokenizer import DEC, ENC, Tokenizer
from capfilt.models.training.activation_checkpointing import checkpoint_layers, tune
from capfilt.models.training.batch import Batch
from capfilt.models.training.loop import StepSettings, Trainer, TrainProgress
from capfilt.models.training.objectives import hard_negatives, itm_loss, lm_loss, replace_tokens
from capfilt.models.training.settings import AdamW, Objectives, Schedule
from capfilt.models.training.system import ModelSettings

TEXTS = ["a red circle", "two blue squares", "the cat sat", "one green star"]
ALL = Objectives(itc=1, itm=1, lm=1, token_itm=1.0)


def run(task: nn.Module, batch: Batch, schedule: Schedule, pace: StepSettings) -> list[TrainProgress]:
    logs: list[TrainProgress] = []
    Trainer(task, schedule, AdamW(), pace).run(iter([(batch, "")] * 1000), logs.append, lambda _: None)
    return logs


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"momentum": 0.99, "queue": 8, "alpha": 0.4, "ramp": 20}])
def test_a_few_steps_learn_a_handful_of_pairs(
    med: MED, tokenizer: Tokenizer, images: torch.Tensor, more: dict[str, Any]
) -> None:
    batch = Batch(images[:4], TEXTS, [["on a mat"]] * 4, [0, 1, 2, 3])
    task = MEDTask(med, tokenizer, Objectives(itc=1, itm=1, lm=1, token_itm=1.0, **more))
    logs = run(task, batch, Schedule(steps=60, rate=3e-3), StepSettings(log_every=20))
    assert [p.step for p in logs] == [20, 40, 60]
    learned = ("itc", "itm", "lm", "token_itm") if not more else ("itm", "lm", "token_itm")
    assert all(logs[-1].losses[name] < logs[0].losses[name] for name in learned)


def test_the_last_step_is_logged_too(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    """Rate 0: every step has the same loss, so each line's mean is that, over however many steps it is."""
    task = MEDTask(med, tokenizer, Objectives(lm=1))
    logs = run(task, Batch(images[:4], TEXTS), Schedule(steps=5, rate=0), StepSettings(log_every=2))
    assert [p.step for p in logs] == [2, 4, 5]
    assert [p.losses["lm"] for p in logs] == pytest.approx([logs[0].losses["lm"]] * 3, rel=1e-6)


def test_itm_is_one_true_pair_to_two_hard_negatives(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    """The same loss, a pair at a time, with the negatives that the task's own generator draws."""
    task = MEDTask(med.eval(), tokenizer, Objectives(itc=1, itm=1), seed=7)
    _, values = task(Batch(images[:4], TEXTS))
    with torch.no_grad():
        states = med.encode_image(normalize(images[:4], torch.float32))
        ids, mask = tokenizer.encode(TEXTS, "[CLS]", 35)
        similarity = med.image_feature(states) @ med.text_feature(ids, mask).T / 0.07
        texts, pictures = hard_negatives(similarity, torch.eye(4).bool(), torch.Generator().manual_seed(7))
        pairs = [(k, k, True) for k in range(4)]
        pairs += [(k, int(texts[k]), False) for k in range(4)] + [(int(pictures[k]), k, False) for k in range(4)]
        losses = []
        for picture, text, match in pairs:
            logits = med.itm_logits(
                *tokenizer.encode([TEXTS[text]], ENC, 35), med.text.project_image_kv(states[picture : picture + 1])
            )
            losses.append(float(itm_loss(logits, torch.tensor([match]))))
    assert abs(float(values["itm"]) - sum(losses) / 12) < 1e-4


def test_words_are_asked_one_by_one_of_a_text_with_some_exchanged(
    med: MED, tokenizer: Tokenizer, images: torch.Tensor
) -> None:
    """The same loss, a text at a time; the first token answers for the whole text."""
    texts = ["a red circle", "a blue circle", "a green circle", "a red star"]
    task = MEDTask(med.eval(), tokenizer, Objectives(token_itm=1), seed=2)
    _, values = task(Batch(images[:4], texts))
    with torch.no_grad():
        states = med.encode_image(normalize(images[:4], torch.float32))
        ids, mask = tokenizer.encode(texts, ENC, 35)
        changed = replace_tokens(ids, mask, torch.Generator().manual_seed(2))
        assert 0 < int((changed != ids).sum()) < 4
        losses = []
        for row in range(4):
            own = slice(row, row + 1), slice(0, int(mask[row].sum()))
            seen = med.text.encode(changed[own], mask[own], med.text.project_image_kv(states[row : row + 1]))
            right = (changed[own] == ids[own])[0].tolist()
            for logits, fits in zip(med.itm_head(seen)[0], [all(right), *right[1:]], strict=True):
                losses.append(float(itm_loss(logits[None], torch.tensor([fits]))))
    assert float(values["token_itm"]) == pytest.approx(sum(losses) / len(losses), abs=1e-5)


@pytest.mark.parametrize("outside", [-0.3, 0.8])
def test_a_temperature_outside_its_bounds_comes_back(
    med: MED, tokenizer: Tokenizer, images: torch.Tensor, outside: float
) -> None:
    with torch.no_grad():
        med.temperature.fill_(outside)
    loss, _ = MEDTask(med, tokenizer, Objectives(itc=1))(Batch(images[:4], TEXTS))
    torch.autograd.backward(loss)
    assert med.temperature.item() == pytest.approx(min(max(outside, 0.001), 0.5))
    assert med.temperature.grad is not None
    assert med.temperature.grad.item() != 0


@pytest.mark.parametrize("asked", [False, True])
def test_the_image_tower_is_compiled_where_that_is_asked_for(med: MED, asked: bool) -> None:
    tune(med, ModelSettings(compile=asked))
    assert (med.vision._compiled_call_impl is not None) == asked


def test_the_prompt_is_given_and_not_learned(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    task = MEDTask(med, tokenizer, Objectives(lm=1, prompt="a cat on a"))
    _, values = task(Batch(images[:4], TEXTS))
    with torch.no_grad():
        ids, _ = tokenizer.encode([f"a cat on a {text}" for text in TEXTS], DEC, 35)
        logits = med.lm_logits(ids, med.text.project_image_kv(med.encode_image(normalize(images[:4], torch.float32))))
    assert float(values["lm"]) == pytest.approx(float(lm_loss(logits, ids, prompt=5)), abs=1e-5)


def test_pairs_of_the_same_picture_are_no_negatives(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    """Four pairs of one picture: ITC shares its target among them, and ITM has nothing but matches."""
    batch = Batch(images[:4], TEXTS, keys=[5, 5, 5, 5])
    _, values = MEDTask(med, tokenizer, Objectives(itc=1, itm=1))(batch)
    with torch.no_grad():
        states = med.encode_image(normalize(images[:4], torch.float32))
        ids, mask = tokenizer.encode(TEXTS, "[CLS]", 35)
        similarity = med.image_feature(states) @ med.text_feature(ids, mask).T / 0.07
        shared = -(similarity.log_softmax(1).mean() + similarity.log_softmax(0).mean()) / 2
    assert float(values["itc"]) == pytest.approx(float(shared), abs=1e-4)
    with torch.no_grad():
        med.itm_head.bias.copy_(torch.tensor([-50.0, 50.0]))  # says "match" whatever it sees
    _, values = MEDTask(med, tokenizer, Objectives(itc=1, itm=1))(batch)
    assert float(values["itm"]) < 1e-3


def test_checkpointing_changes_nothing_but_memory(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    batch = Batch(images[:4], TEXTS)
    gradients = []
    for wanted in (False, True):
        model = copy.deepcopy(med)
        if wanted:
            checkpoint_layers(model)
        loss, _ = MEDTask(model, tokenizer, ALL)(batch)
        loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        assert (gradient is None) == (gradients[1][name] is None)
        assert gradient is None or torch.equal(gradient, gradients[1][name])


def test_two_batches_a_step_are_the_mean_of_their_gradients(
    med: MED, tokenizer: Tokenizer, images: torch.Tensor
) -> None:
    batches = [Batch(images[:4], TEXTS), Batch(images[4:8], TEXTS)]
    plain = copy.deepcopy(med)
    task = MEDTask(plain, tokenizer, Objectives(lm=1))
    for batch in batches:
        (task(batch)[0] / 2).backward()
    trainer = Trainer(
        MEDTask(med, tokenizer, Objectives(lm=1)),
        Schedule(steps=1, rate=0),
        AdamW(),
        StepSettings(accumulate=2, clip=0, log_every=1),
    )
    logs: list[TrainProgress] = []
    trainer.run(iter([(batch, "") for batch in batches]), logs.append, lambda _: None)
    for own, expected in zip(med.parameters(), plain.parameters(), strict=True):
        assert (own.grad is None) == (expected.grad is None)
        assert own.grad is None or torch.equal(own.grad, expected.grad)
    assert logs[0].losses["lm"] > 0


def test_bf16_is_near_and_leaves_float32_weights(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    logs = []
    for bf16 in (False, True):
        model = copy.deepcopy(med)
        task = MEDTask(model, tokenizer, Objectives(itc=1, itm=1, lm=1, momentum=0.9, queue=8, alpha=0.4, ramp=0))
        batch = Batch(images[:4], TEXTS, keys=[0, 1, 2, 3])
        logs += run(task, batch, Schedule(steps=2, rate=1e-4), StepSettings(bf16=bf16, log_every=2))
        assert all(parameter.dtype == torch.float32 for parameter in task.parameters())
    for name, value in logs[0].losses.items():
        assert logs[1].losses[name] == pytest.approx(value, rel=0.1)

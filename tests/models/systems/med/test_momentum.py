"""ITC with momentum encoders, queue and soft targets against a slow, plain one."""

import copy
import math

import pytest
import torch

from capfilt.models.med.model import MED
from capfilt.models.normalize import normalize
from capfilt.models.systems.med.momentum import FeatureQueue
from capfilt.models.systems.med.task import MEDTask
from capfilt.models.tokenizer import CLS, Tokenizer
from capfilt.models.training.batch import Batch, pair_codes, same_pairs
from capfilt.models.training.settings import Objectives

TEXTS = ["a red circle", "two blue squares", "the cat sat", "one green star"]
SETTINGS = Objectives(itc=1, momentum=0.9, queue=6, alpha=0.4, ramp=4)


def features(model: MED, tokenizer: Tokenizer, images: torch.Tensor, texts: list[str]) -> tuple[list, list]:
    with torch.no_grad():
        ids, mask = tokenizer.encode(texts, CLS, 35)
        image = model.image_feature(model.encode_image(normalize(images, torch.float32)))
        return image.tolist(), model.text_feature(ids, mask).tolist()


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def softmax(row: list[float]) -> list[float]:
    total = sum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def slow_itc(student: list, teacher: list, others: list, same: list[list[bool]], alpha: float) -> float:
    """One direction, in plain Python: rows of the student against columns of momentum features."""
    total = 0.0
    for row in range(len(student)):
        own = softmax([dot(student[row], other) / 0.07 for other in others])
        theirs = softmax([dot(teacher[row], other) / 0.07 for other in others])
        matches = sum(same[row])
        for column in range(len(others)):
            hard = same[row][column] / matches
            total -= (alpha * theirs[column] + (1 - alpha) * hard) * math.log(own[column])
    return total / len(student)


def test_itc_over_two_steps_is_the_slow_one(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    """The second step has other weights than the momentum encoders, a queue of 4, a picture and a text seen before."""
    task = MEDTask(med, tokenizer, SETTINGS)
    slow = copy.deepcopy(med)
    first = Batch(images[:4], TEXTS, keys=[10, 11, 12, 13], step=0)
    task(first)
    with torch.no_grad():
        for parameter in med.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        med.temperature.fill_(0.07)
    task.after_update()
    with torch.no_grad():
        for own, trained in zip(slow.parameters(), med.parameters(), strict=True):
            own.copy_(0.9 * own + 0.1 * trained)
    second = Batch(images[4:8], ["a mat", "two blue squares", "a cat", "a star"], keys=[20, 21, 12, 23], step=2)
    loss, values = task(second)

    queue_images, queue_texts = features(copy.deepcopy(_before(med, slow)), tokenizer, images[:4], TEXTS)
    student = features(med, tokenizer, second.images, second.texts)
    teacher = features(slow, tokenizer, second.images, second.texts)
    same = [[row == column for column in range(4)] + [False] * 4 for row in range(4)]
    same[1][4 + 1] = True  # the same text as a pair of the queue
    same[2][4 + 2] = True  # the same picture as a pair of the queue
    alpha = 0.4 * 2 / 4
    expected = (
        slow_itc(student[0], teacher[0], teacher[1] + queue_texts, same, alpha)
        + slow_itc(student[1], teacher[1], teacher[0] + queue_images, same, alpha)
    ) / 2
    assert abs(float(loss.detach()) - expected) < 1e-4
    assert abs(float(values["itc"]) - expected) < 1e-4
    assert all(parameter.grad is None for parameter in task.slow.parameters())
    assert not any(parameter.requires_grad for parameter in task.slow.parameters())


def _before(med: MED, slow: MED) -> MED:
    """The momentum encoders as they were before their first step: slow = 0.9 * before + 0.1 * trained."""
    before = copy.deepcopy(slow)
    with torch.no_grad():
        for own, late, trained in zip(before.parameters(), slow.parameters(), med.parameters(), strict=True):
            own.copy_((late - 0.1 * trained) / 0.9)
    return before


def test_gradients_come_from_the_student_alone(med: MED, tokenizer: Tokenizer, images: torch.Tensor) -> None:
    task = MEDTask(med, tokenizer, SETTINGS)
    loss, _ = task(Batch(images[:4], TEXTS, keys=[0, 1, 2, 3]))
    loss.backward()
    assert med.vision_proj.weight.grad is not None
    assert all(parameter.grad is None for parameter in task.slow.parameters())


def test_the_queue_is_a_ring_and_the_oldest_go_first() -> None:
    queue = FeatureQueue(5, 1)
    for start in (0, 3, 6):
        numbers = torch.arange(start, start + 3)
        queue.push(numbers[:, None].float(), -numbers[:, None].float(), torch.stack((numbers, numbers), 1))
    assert sorted(queue.images[:, 0].tolist()) == [4, 5, 6, 7, 8]
    assert torch.equal(queue.images, -queue.texts)
    assert torch.equal(queue.codes[:, 0].float(), queue.images[:, 0])
    other = FeatureQueue(5, 1)
    other.load_state_dict(queue.state_dict())
    assert (other.pointer, other.filled) == (queue.pointer, queue.filled) == (4, 5)


@pytest.mark.parametrize(("places", "batch"), [(0, 3), (1, 3), (2, 5), (4, 4), (5, 4)])
def test_a_queue_of_any_size_takes_batches_of_any_size(places: int, batch: int) -> None:
    queue = FeatureQueue(places, 1)
    for start in range(0, 3 * batch, batch):
        numbers = torch.arange(start, start + batch)
        queue.push(numbers[:, None].float(), -numbers[:, None].float(), torch.stack((numbers, numbers), 1))
    kept = list(range(3 * batch))[-places:] if places else []
    assert sorted(queue.images[:, 0].tolist()) == kept
    assert torch.equal(queue.codes[:, 0].float(), queue.images[:, 0])


def test_an_empty_queue_is_compared_with_nothing() -> None:
    images, texts, codes = FeatureQueue(8, 2).candidates(torch.ones(3, 2), torch.zeros(3, 2), torch.ones(3, 2).long())
    assert (len(images), len(texts), len(codes)) == (3, 3, 3)


def test_alpha_rises_and_stays(med: MED, tokenizer: Tokenizer) -> None:
    task = MEDTask(med, tokenizer, SETTINGS)
    assert [round(task.alpha_at(step), 6) for step in (0, 1, 2, 4, 9)] == [0.0, 0.1, 0.2, 0.4, 0.4]


def test_pairs_of_one_picture_or_one_text_are_the_same() -> None:
    codes = pair_codes([1, 2, 1, 4], ["a", "b", "c", "b"])
    same = same_pairs(codes, codes)
    assert same.tolist() == [
        [True, False, True, False],
        [False, True, False, True],
        [True, False, True, False],
        [False, True, False, True],
    ]
    assert torch.equal(pair_codes([], ["a", "b"])[:, 0], torch.tensor([0, 1]))
    assert torch.equal(pair_codes([9], ["b"])[:, 1], codes[1:2, 1])

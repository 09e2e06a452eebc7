"""What is locked is not trained, not switched to training mode and not in a state."""

from typing import Any

import torch
from torch import Tensor, nn

from capfilt.models.training.frozen import lock
from capfilt.models.training.loop import StepSettings, Trainer
from capfilt.models.training.settings import AdamW, Schedule
from capfilt.models.training.task import Task


class TwoParts(Task):
    """A tower with statistics and dropout, and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tower = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.head = nn.Linear(4, 1)
        self.slow = nn.Linear(4, 1)

    def forward(self, batch: object) -> tuple[Tensor, dict[str, Tensor]]:
        features = self.tower(batch.images)
        return (self.head(features) + self.slow(features)).square().mean(), {}

    def rates(self) -> dict[str, float]:
        return {"slow": 0.0, "slow.bias": 1.0}


class Rows:
    images = torch.ones(3, 4)


def trainer(task: TwoParts) -> Trainer:
    return Trainer(task, Schedule(steps=2, rate=0.1), AdamW(weight_decay=0.5), StepSettings(log_every=1))


def test_a_locked_part_stays_to_the_bit_and_out_of_the_state() -> None:
    task = TwoParts()
    lock(task.tower)
    before = {name: tensor.clone() for name, tensor in task.state_dict().items() if isinstance(tensor, Tensor)}
    states: list[dict[str, Any]] = []
    trainer(task).run(iter([(Rows, "")] * 2), lambda _: None, lambda now: states.append(now.state()))
    task.train()
    assert (task.head.training, task.tower.training, task.tower[2].training) == (True, False, False)
    assert all(torch.equal(before[f"tower.{name}"], tensor) for name, tensor in task.tower.state_dict().items())
    assert not torch.equal(before["head.weight"], task.head.weight)
    assert not [name for name in states[-1]["task"] if name.startswith("tower")]
    other = TwoParts()
    lock(other.tower)
    trainer(other).restore(states[-1])
    assert torch.equal(other.head.weight, task.head.weight)


def test_factors_of_the_rate_go_by_the_longest_name() -> None:
    task = TwoParts()
    before = {name: parameter.detach().clone() for name, parameter in task.named_parameters()}
    trainer(task).run(iter([(Rows, "")] * 2), lambda _: None, lambda _: None)
    moved = {name for name, parameter in task.named_parameters() if not torch.equal(before[name], parameter)}
    assert {"slow.bias", "head.weight"} <= moved
    assert "slow.weight" not in moved

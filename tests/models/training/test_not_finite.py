"""A loss that is no finite number ends a training at once, with advice that fits the step."""

from itertools import repeat
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from capfilt.core.errors import RunFailed
from capfilt.models.training.loop import StepSettings, Trainer
from capfilt.models.training.settings import AdamW, Schedule
from capfilt.models.training.task import Task


class Diverges(Task):
    """A task whose loss is infinite from a step on."""

    def __init__(self, step: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.left = step

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        self.left -= 1
        return self.weight.sum() * (1.0 if self.left else float("inf")), {}


class Rows:
    images = torch.ones(3, 4)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (1, "at step 1; what was saved before is kept; the weights that it starts from are broken, or the data"),
        (2, r"at step 2; what was saved before is kept; try a lower schedule\.rate"),
    ],
)
def test_the_advice_fits_the_step(step: int, said: str) -> None:
    trainer = Trainer(Diverges(step), Schedule(steps=3, rate=0.1), AdamW(), StepSettings())
    saved: list[int] = []
    with pytest.raises(RunFailed, match=f"the loss is inf {said}"):
        trainer.run(repeat((Rows(), "")), lambda _: None, lambda one: saved.append(one.step))  # type: ignore[arg-type]
    assert not saved
    assert bool(trainer.task.weight.isfinite().all())  # type: ignore[union-attr,operator]

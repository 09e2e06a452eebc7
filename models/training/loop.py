"""The loop: batches in, steps taken, a log line now and then, and a state to resume from bit by bit."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from capfilt.core.errors import RunFailed
from capfilt.models.training.batch import Batch, QuestionBatch, TalkBatch
from capfilt.models.training.frozen import locked_names
from capfilt.models.training.group import Group
from capfilt.models.training.settings import AdamW, Schedule
from capfilt.models.training.task import Task

Item = tuple[Batch | QuestionBatch | TalkBatch, str]
"""A batch, and where in the data its reader stands after it."""

Forward = Callable[[Any], tuple[Tensor, dict[str, Tensor]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSettings:
    """How steps are taken."""

    accumulate: int = 1  # batches a step; each contrasts its own pairs only
    clip: float = 1.0  # largest norm of a gradient; 0 = not clipped
    bf16: bool = False  # forward in bfloat16, weights stay float32
    log_every: int = 50
    save_every: int = 500


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """One log line: the means of the losses since the last one."""

    step: int
    steps: int
    losses: dict[str, float]
    rate: float
    pairs_per_second: float
    seconds_left: float


class Trainer:
    """A task, its optimizer and how far it is.

    Args:
        forward: the task as it is called, where that is not the task itself (wrapped for several workers).
    """

    def __init__(
        self,
        task: Task,
        schedule: Schedule,
        optimizer: AdamW,
        pace: StepSettings,
        group: Group | None = None,
        forward: Any = None,
    ) -> None:
        self.task = task
        self.forward: Any = forward or task
        self.schedule = schedule
        self.optimizer = optimizer.build(task, task.rates())
        self.pace = pace
        self.group = group or Group()
        self.device = next(parameter.device for parameter in task.parameters())
        self.step = 0
        self.position = ""  # of the data
        self.sums: dict[str, Tensor] = {}  # of losses since the last log line

    def run(
        self, items: Iterator[Item], on_log: Callable[[TrainProgress], None], on_save: Callable[["Trainer"], None]
    ) -> None:
        """Take the steps that are left; `on_save` is called every `save_every` steps and after the last one."""
        self.task.train()
        pairs, since, first = 0, time.perf_counter(), self.step
        while self.step < self.schedule.steps:
            pairs += self._take_step(items)
            self.step += 1
            if self.step % self.pace.log_every == 0 or self.step == self.schedule.steps:
                seconds = time.perf_counter() - since
                on_log(self._progress(pairs / seconds, seconds / (self.step - first)))
                self.sums, pairs, since, first = {}, 0, time.perf_counter(), self.step
            if self.step % self.pace.save_every == 0 or self.step == self.schedule.steps:
                on_save(self)
        self.task.eval()

    def _take_step(self, items: Iterator[Item]) -> int:
        """One update from `accumulate` batches; the number of pairs seen, those of other workers included."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate_at(self.step) * group["factor"]
        self.optimizer.zero_grad(set_to_none=True)  # None, not zeros: unused parameters get no decay step
        pairs = 0
        for number in range(self.pace.accumulate):
            batch, self.position = next(items)
            with self._alone(number):
                with self._precision():
                    loss, values = self.forward(batch)
                torch.autograd.backward(loss / self.pace.accumulate)
            self._check_finite("loss", loss)
            self._add(values)
            pairs += len(batch.images) * self.group.size
        norm = nn.utils.clip_grad_norm_(self.task.parameters(), self.pace.clip or float("inf"))
        self._check_finite("norm of the gradient", norm)
        self.optimizer.step()
        self.task.after_update()
        return pairs

    def _check_finite(self, what: str, value: Tensor) -> None:
        """End the training before a step that would spoil the weights; what was saved before it stays.

        Raises:
            RunFailed: the value is NaN or infinite; names the step.
        """
        # Reading the number makes a GPU wait for the host once a step (what that costs was not measured); without it a
        # training that diverged went on and overwrote its last good state.
        if not math.isfinite(number := float(value.detach())):
            advice = "try a lower schedule.rate or a longer schedule.warmup"
            # Before a first step no rate can be at fault.
            advice = advice if self.step else "the weights that it starts from are broken, or the data"
            raise RunFailed(f"the {what} is {number} at step {self.step + 1}; what was saved before is kept; {advice}")

    def _alone(self, number: int) -> AbstractContextManager[None]:
        """Gradients travel between workers with the last batch of a step only."""
        last = number + 1 == self.pace.accumulate
        wait: AbstractContextManager[None] = nullcontext() if last or self.group.size == 1 else self.forward.no_sync()
        return wait

    def _precision(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.pace.bf16)

    def _add(self, values: dict[str, Tensor]) -> None:
        """Sums stay on the device: asking for a number would make it wait."""
        for name, value in values.items():
            # double: float32 sums of thousands of losses would depend on where a training was interrupted.
            self.sums[name] = self.sums.get(name, 0.0) + value.double() / self.pace.accumulate

    def _progress(self, pairs_per_second: float, seconds_per_step: float) -> TrainProgress:
        since = self.step % self.pace.log_every or self.pace.log_every
        losses = {name: float(self.group.mean(total)) / since for name, total in self.sums.items()}
        left = (self.schedule.steps - self.step) * seconds_per_step
        rate = self.schedule.rate_at(self.step - 1)
        return TrainProgress(self.step, self.schedule.steps, losses, rate, pairs_per_second, left)

    def state(self) -> dict[str, Any]:
        """All that the next step depends on, of all workers; every worker must ask. What is locked is left out."""
        left = locked_names(self.task)
        return {
            "step": self.step,
            "position": self.position,
            "task": {name: tensor for name, tensor in self.task.state_dict().items() if name not in left},
            "optimizer": self.optimizer.state_dict(),
            "random": self.group.objects(_random_state()),
            "sums": self.group.objects(self.sums),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from a state, with as many workers as it was made by.

        Raises:
            RuntimeError: the state is of another task.
        """
        self.step, self.position, self.sums = state["step"], state["position"], state["sums"][self.group.rank]
        self._restore_task(state["task"])
        factors = [group["factor"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, factor in zip(self.optimizer.param_groups, factors, strict=True):
            group["factor"] = factor  # a state of a release before December 2026 has none
        _set_random_state(state["random"][self.group.rank])

    def _restore_task(self, saved: dict[str, Any]) -> None:
        missing, unexpected = self.task.load_state_dict(saved, strict=False)
        # Until December 2026 some tasks had no random numbers of their own.
        lacking = set(missing) - locked_names(self.task) - {"_extra_state"}
        if lacking or unexpected:
            raise RuntimeError(f"state of another task: {sorted((*lacking, *unexpected))[0]}")


def _random_state() -> list[Tensor]:
    return [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]


def _set_random_state(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    for device, state in zip(range(torch.cuda.device_count()), states[1:], strict=False):  # there may be fewer now
        torch.cuda.set_rng_state(state, device)

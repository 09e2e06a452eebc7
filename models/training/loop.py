"""The loop: AdamW, one-cycle learning rate, gradient clipping, a log line now and then."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch

from capfilt.models.training.med_task import Batch, MEDTask


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast. `rate` is the peak; it is reached after `warmup` of the steps and falls by a cosine."""

    steps: int
    rate: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.05
    clip: float = 1.0
    log_every: int = 50
    save_every: int = 500

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, 0-based."""
        rise = max(1, round(self.steps * self.warmup))
        if step < rise:
            return self.rate * (step + 1) / rise
        share = (step - rise) / max(1, self.steps - rise)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


@dataclass(frozen=True, slots=True)
class Progress:
    """One log line: smoothed losses since the last one."""

    step: int
    steps: int
    losses: dict[str, float]
    rate: float
    pairs_per_second: float
    seconds_left: float


def train(
    task: MEDTask,
    batches: Iterator[Batch],
    schedule: Schedule,
    on_log: Callable[[Progress], None],
    on_save: Callable[[int], None],
) -> None:
    """Take `schedule.steps` batches; `on_save` is called every `save_every` steps and after the last one."""
    model = task.model.train()
    optimiser = torch.optim.AdamW(_groups(model, schedule.weight_decay), lr=schedule.rate, betas=(0.9, 0.98))
    sums: dict[str, float] = {}
    pairs, since = 0, time.perf_counter()
    for step in range(schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate_at(step)
        batch = next(batches)
        loss, values = task.step(batch)
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
        optimiser.step()
        pairs += len(batch.texts)
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value
        if (step + 1) % schedule.log_every == 0:
            seconds = time.perf_counter() - since
            means = {name: value / schedule.log_every for name, value in sums.items()}
            left = (schedule.steps - step - 1) * seconds / schedule.log_every
            on_log(Progress(step + 1, schedule.steps, means, schedule.rate_at(step), pairs / seconds, left))
            sums, pairs, since = {}, 0, time.perf_counter()
        if (step + 1) % schedule.save_every == 0 or step + 1 == schedule.steps:
            on_save(step + 1)
    model.eval()


def _groups(model: torch.nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices decay; biases, norms, embeddings of position and the temperature do not."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    rest = [p for p in model.parameters() if p.ndim < 2]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]

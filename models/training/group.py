"""The workers that train together, each on its own part of every batch; one worker alone needs no process group."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True, slots=True)
class Group:
    """This worker's place among `size` workers. A batch of B rows is cut into `size` equal parts, in order of rank."""

    rank: int = 0
    size: int = 1

    def part(self, rows: int) -> slice:
        """The rows of a whole batch that are this worker's."""
        width = rows // self.size
        return slice(self.rank * width, (self.rank + 1) * width)

    def wrap(self, task: nn.Module) -> nn.Module:
        """The task as it is called: with several workers its gradients are their mean."""
        if self.size == 1:
            return task
        # No buffers travel: the queue is the same with all. Which parameters a task leaves alone is its own affair.
        return DistributedDataParallel(task, broadcast_buffers=False, find_unused_parameters=True)

    def gather(self, part: Tensor) -> Tensor:
        """Parts [b, ...] of all workers, [B, ...]; gradients flow back to the worker a row came from."""
        if self.size == 1:
            return part
        whole: Tensor = _Gather.apply(part, self)
        return whole

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a value over the workers, without gradient."""
        if self.size == 1:
            return value.detach()
        total = value.detach().clone()
        dist.all_reduce(total)
        return total / self.size

    def objects(self, item: Any) -> list[Any]:
        """One Python object of every worker, in order of rank."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item)
        return items


class _Gather(torch.autograd.Function):
    """`all_gather` that is differentiable: each worker's loss depends on the rows of all."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, group: Group) -> Tensor:
        ctx.group = group
        parts = [torch.empty_like(part) for _ in range(group.size)]
        dist.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # A copy, for `all_reduce` writes into it, and the gradient is autograd's.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total[ctx.group.part(len(total))], None

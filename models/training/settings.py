"""What is learned and how fast: objectives, learning rate, optimizer.

Free of torch until an optimizer is built: `capfilt.training.config` checks recipes against these and takes its
defaults from here.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """Weights of the objectives and their options; a weight of 0 turns an objective off.

    The paper pretrains with ITC, ITM and LM at 1 each (section 3.2), tunes a captioner with LM alone and a filter with
    ITC and ITM (section 3.3).
    """

    itc: float = 0.0
    itm: float = 0.0
    lm: float = 0.0
    token_itm: float = 0.0  # ITM per token; not in the paper
    momentum: float = 0.0  # of the momentum encoders; 0 = none
    queue: int = 0  # pairs whose momentum features are further negatives of ITC
    alpha: float = 0.0  # share of the ITC target mass that follows the momentum encoders
    ramp: float = 2.0  # epochs over which alpha rises from 0
    smoothing: float = 0.1  # label smoothing of LM
    negatives: Literal["all", "worker"] = "all"  # where hard negatives of ITM come from
    prompt: str = ""  # prefix of every LM text, not learned
    max_tokens: int = 35


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Learning rate over `steps` steps.

    It rises for `warmup` (below 1 a share of the steps, else a number of them) from `warmup_from` to the peak `rate`,
    then falls: by a cosine, or by the factor `decay` an epoch of `epoch` steps (BLIP, section 4.1). `warmup_from` and
    `min_ratio` are shares of `rate`.

    BLIP's code warms up in its first epoch only, so that the rate jumps where an epoch is shorter; here it never does.
    """

    steps: int
    rate: float = 1e-3
    warmup: float = 0.1
    warmup_from: float = 0.0
    shape: Literal["cosine", "epochs"] = "cosine"
    decay: float = 0.85
    epoch: int = 1
    min_ratio: float = 0.01

    def rate_at(self, step: int) -> float:
        """Learning rate of a step, 0-based."""
        rise = max(1, round(self.steps * self.warmup if self.warmup < 1 else self.warmup))
        if self.shape == "epochs":
            peak = self.rate * max(self.min_ratio, self.decay ** (step // self.epoch))
        else:
            share = max(0, step - rise) / max(1, self.steps - rise)
            peak = self.rate * (self.min_ratio + (1 - self.min_ratio) * 0.5 * (1 + math.cos(math.pi * share)))
        first = self.rate * self.warmup_from
        return peak if step >= rise else first + (peak - first) * (step + 1) / rise


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW:
    """The optimizer. `decayed`: weight decay on matrices only, or on all parameters as BLIP's code has it."""

    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.05
    decayed: Literal["matrices", "all"] = "matrices"

    def build(self, module: "torch.nn.Module") -> "torch.optim.AdamW":
        """An optimizer over the parameters of a module that are trained."""
        import torch

        parameters = [p for p in module.parameters() if p.requires_grad]
        matrices = [p for p in parameters if p.ndim >= 2 or self.decayed == "all"]
        rest = [p for p in parameters if p.ndim < 2 and self.decayed != "all"]
        groups: list[dict[str, Any]] = [
            {"params": matrices, "weight_decay": self.weight_decay},
            {"params": rest, "weight_decay": 0.0},
        ]
        used = [group for group in groups if group["params"]]
        # One pass over the weights a step, on a CPU too: several of them cost a small model a tenth of its time.
        return torch.optim.AdamW(used, betas=(self.beta1, self.beta2), fused=True)

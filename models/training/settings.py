"""What is learned and how fast: objectives, learning rate, optimizer.

Free of torch until an optimizer is built: `capfilt.training.config` makes sections of recipes of these dataclasses, or
takes its defaults from them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    import torch


Value = TypeVar("Value")


def setting(default: Value, description: str, **bounds: float) -> Value:
    """A field of a dataclass that is a section of a recipe; `bounds` are ge, gt, le, lt."""
    found: Value = field(default=default, metadata={"description": description, **bounds})
    return found


@dataclass(frozen=True, kw_only=True)
class Objectives:
    """Training objectives. A weight of 0 turns one off."""

    # BLIP pretrains with ITC, ITM and LM at 1 each (section 3.2), tunes a captioner with LM alone and a filter with ITC
    # and ITM (section 3.3).
    itc: float = setting(0.0, "weight of image-text contrastive loss; 0 = off", ge=0)
    itm: float = setting(0.0, "weight of image-text matching loss, with hard negatives; 0 = off", ge=0)
    lm: float = setting(0.0, "weight of language modeling loss; 0 = off", ge=0)
    token_itm: float = setting(0.0, "weight of token-level matching loss, not in the paper; 0 = off", ge=0)
    momentum: float = setting(0.0, "momentum of the momentum encoders; 0 = none", ge=0, lt=1)
    queue: int = setting(0, "pairs in the queue of momentum features; 0 = no queue", ge=0)
    alpha: float = setting(0.0, "weight of the momentum encoders' soft targets in ITC", ge=0, le=1)
    ramp: float = setting(2.0, "epochs over which alpha rises from 0", ge=0)
    smoothing: float = setting(0.1, "label smoothing of LM", ge=0, lt=1)
    negatives: Literal["all", "worker"] = setting("all", "ITM hard negatives: from all workers, or the worker's own")
    prompt: str = setting("", "prefix of every LM text, not learned")
    max_tokens: int = setting(35, "maximum tokens per text, with [CLS] and [SEP]", ge=3)

    def __post_init__(self) -> None:
        if (self.queue or self.alpha) and not self.momentum:
            raise ValueError("queue and alpha need momentum")


@dataclass(frozen=True, kw_only=True)
class Dropout:
    """What a training leaves out at random. A share of 0 turns it off."""

    # BLIP's code: text 0.1 always, path 0.1 for ViT-L and for VQA.
    text: float = setting(0.0, "share of the text states and attention weights set to 0 (BLIP: 0.1)", ge=0, lt=1)
    path: float = setting(
        0.0,
        "drop path: share of images that skip the image encoder's last layer, falling to 0 at its first",
        ge=0,
        lt=1,
    )


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

    def build(self, module: "torch.nn.Module", rates: Mapping[str, float] | None = None) -> "torch.optim.AdamW":
        """An optimizer over the parameters of a module that are trained.

        Args:
            rates: factors of the learning rate, by the beginning of the parameters' names; the longest that fits
                counts, and 1 where none does. A group of the optimizer has its own as `factor`.
        """
        import torch

        groups: dict[tuple[float, bool], list[Any]] = {}
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                decays = parameter.ndim >= 2 or self.decayed == "all"
                groups.setdefault((_factor(name, rates or {}), decays), []).append(parameter)
        # Sorted: a state that is resumed finds its groups by their places.
        made = [
            {"params": found, "weight_decay": self.weight_decay if decays else 0.0, "factor": factor}
            for (factor, decays), found in sorted(groups.items(), key=lambda group: (-group[0][0], not group[0][1]))
        ]
        # One pass over the weights a step, on a CPU too: several of them cost a small model a tenth of its time.
        return torch.optim.AdamW(made, betas=(self.beta1, self.beta2), fused=True)


def _factor(name: str, rates: Mapping[str, float]) -> float:
    fitting = [prefix for prefix in rates if name.startswith(prefix)]
    return rates[max(fitting, key=len)] if fitting else 1.0

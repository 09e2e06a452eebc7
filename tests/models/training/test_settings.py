"""Learning rates and what decays."""

import itertools

import pytest
import torch
from torch import nn

from capfilt.models.training.settings import AdamW, Schedule


def test_cosine_rises_to_the_peak_and_falls_to_the_least() -> None:
    schedule = Schedule(steps=100, rate=2.0, warmup=0.1, min_ratio=0.01)
    rates = [schedule.rate_at(step) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert max(rates) == rates[9] == rates[10] == 2.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[99] == pytest.approx(0.02, abs=0.01)


def test_the_paper_s_schedule() -> None:
    """Warm-up over 3,000 steps from 1e-6 to 3e-4, then 0.85 an epoch, never under 1e-6."""
    schedule = Schedule(
        steps=60_000,
        rate=3e-4,
        warmup=3000,
        warmup_from=1 / 300,
        shape="epochs",
        decay=0.85,
        epoch=4000,
        min_ratio=1 / 300,
    )
    assert schedule.rate_at(0) == pytest.approx(1e-6, rel=0.2)
    assert schedule.rate_at(1499) == pytest.approx((1e-6 + 3e-4) / 2, rel=1e-3)
    assert schedule.rate_at(3999) == 3e-4
    assert schedule.rate_at(4000) == pytest.approx(3e-4 * 0.85)
    assert schedule.rate_at(4000 * 40) == pytest.approx(1e-6)


def test_an_epoch_shorter_than_the_warm_up_makes_no_jump() -> None:
    schedule = Schedule(steps=4000, rate=1.0, warmup=3000, shape="epochs", decay=0.85, epoch=1000, min_ratio=0.0)
    rates = [schedule.rate_at(step) for step in range(4000)]
    assert max(abs(a - b) for a, b in itertools.pairwise(rates)) < 0.16
    assert rates[3001] == pytest.approx(0.85**3)


def test_what_decays() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.LayerNorm(3))
    module[0].weight.requires_grad_(True)
    matrices, rest = AdamW(weight_decay=0.1).build(module).param_groups
    assert [p.ndim for p in matrices["params"]] == [2]
    assert (matrices["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    (everything,) = AdamW(weight_decay=0.1, decayed="all").build(module).param_groups
    assert len(everything["params"]) == 4
    module[0].requires_grad_(False)
    assert sum(len(g["params"]) for g in AdamW().build(module).param_groups) == 2
    assert torch.optim.AdamW is type(AdamW().build(module))

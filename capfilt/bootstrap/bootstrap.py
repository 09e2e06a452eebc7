"""The loop: a model of the raw web pairs, then rounds of captioner, filter, cleaner corpus and new model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from capfilt.bootstrap import steps
from capfilt.bootstrap.config import BootstrapRecipe
from capfilt.bootstrap.step_cache import RunCommand, run_step
from capfilt.bootstrap.summary import RoundSummary, stop_reason, summarize_round
from capfilt.core.errors import InputError
from capfilt.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class BootstrapResult:
    """Result of a bootstrap."""

    rounds: list[RoundSummary]  # round 0 is the raw web data
    stopped: str  # why it stopped early; "" = it did not

    @property
    def best(self) -> RoundSummary:
        """The round with the best retrieval of validation pairs, the earlier of equal ones."""
        return max(self.rounds, key=lambda one: one.deciding)


def bootstrap(
    loop: BootstrapRecipe,
    out: Path,
    rounds: int,
    do: RunCommand,
    say: Callable[[str], None],
    hear: Callable[[RoundSummary], None],
) -> BootstrapResult:
    """Run the rounds, or resume an earlier call; steps whose inputs are unchanged are skipped.

    Args:
        do: runs the arguments of a capfilt command; returns its exit code.
        hear: called with the summary of each round.

    Raises:
        InputError: missing data; before any work.
        BusyError: another process works in `out`.
        RunFailed: a step failed; earlier steps stay complete.
    """
    for place in (*loop.data.human, *loop.data.validation, *loop.data.test):
        if "://" not in place and not Path(place).exists():
            raise InputError(f"{place}: no such file or folder")
    done: list[RoundSummary] = []
    with Ledger.at(str(out)).lock():
        for number in range(rounds + 1):
            for step in _round(loop, out, number):
                run_step(step, out, do, say)
            done.append(summarize_round(out, number, bool(loop.data.validation)))
            hear(done[-1])
            reason = stop_reason(done, loop.stop)
            if reason and number < rounds:
                return BootstrapResult(done, reason)
    return BootstrapResult(done, "")


def _round(loop: BootstrapRecipe, out: Path, number: int) -> list[steps.Step]:
    before = [*steps.tune(loop, out, number), steps.clean(loop, out, number)] if number else [steps.raw(loop, out)]
    return [*before, steps.pretrain(loop, out, number), *steps.evaluate(loop, out, number)]

"""The loop: a model of the web as it is, then rounds of captioner, filter, a cleaner corpus and a new model."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from capfilt.bootstrap import steps
from capfilt.bootstrap.config import Loop
from capfilt.bootstrap.step_cache import Do, take
from capfilt.bootstrap.summary import Account, account, why_stop
from capfilt.core.errors import InputError
from capfilt.ledger.ledger import Ledger


@dataclass(frozen=True, slots=True)
class Result:
    """What a bootstrap came to."""

    rounds: list[Account]  # round 0 is the web as it is
    stopped: str  # why it ended before its last round; "" if it did not

    @property
    def best(self) -> Account:
        """The round with the best held-out retrieval, the earlier of equal ones."""
        return max(self.rounds, key=lambda one: one.retrieval)


def bootstrap(
    loop: Loop, out: Path, rounds: int, do: Do, say: Callable[[str], None], hear: Callable[[Account], None]
) -> Result:
    """Do the rounds, or go on where an earlier call stopped; what has not changed is not done again.

    Args:
        do: runs a command line behind `capfilt`.
        hear: told what each round came to.

    Raises:
        InputError: data that is not there; before any work.
        BusyError: another process does the same.
        RunFailed: a step failed; all before it stay done.
    """
    for place in (*loop.data.human, *loop.data.test):
        if "://" not in place and not Path(place).exists():
            raise InputError(f"{place}: no such file or folder")
    done: list[Account] = []
    with Ledger.at(str(out)).lock():
        for number in range(rounds + 1):
            for step in _round(loop, out, number):
                take(step, out, do, say)
            done.append(account(out, number))
            hear(done[-1])
            reason = why_stop(done, loop.stop)
            if reason and number < rounds:
                return Result(done, reason)
    return Result(done, "")


def _round(loop: Loop, out: Path, number: int) -> list[steps.Step]:
    before = [*steps.tune(loop, out, number), steps.clean(loop, out, number)] if number else [steps.raw(loop, out)]
    return [*before, steps.pretrain(loop, out, number), steps.evaluate(loop, out, number)]

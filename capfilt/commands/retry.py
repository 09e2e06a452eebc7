"""Retry the failed rows of a run whose reasons are retryable, within the same run."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from capfilt.commands.chunk_work import work_through
from capfilt.commands.layer_work import complete, layer_work
from capfilt.commands.progress import Listener, RunProgress
from capfilt.commands.stored_recipe import stored_recipe
from capfilt.core.errors import ConfigError
from capfilt.core.schema import Reason, Trait
from capfilt.core.serialization import canonical_json
from capfilt.ledger.ledger import Ledger
from capfilt.ledger.transaction import replay_pending
from capfilt.pipelines.engine.chunk.chunk_row import PlannedChunk
from capfilt.pipelines.forget.forget import finish_forgetting
from capfilt.pipelines.selection.select import Selection, reselect


@dataclass(frozen=True, slots=True)
class RetryResult:
    """What came of a retry."""

    tried: int  # rows
    recovered: int  # of these, images now
    failures: dict[str, int]  # of the others, by reason
    chunks: int  # that were opened again
    seconds: float
    selection: Selection


def retry(
    out: str,
    reasons: Sequence[str] = (),
    overrides: Sequence[str] = (),
    *,
    listener: Listener = lambda _: None,
) -> RetryResult:
    """Fetch failed rows of the run at `out` again, caption and score those that succeed, and select again.

    Each chunk is replaced as a whole or not at all. A retry that was killed is taken up by the same call: chunks that
    were done have no such failures any more, or only new ones.

    Args:
        reasons: values of `schema.Reason`, or their `short` names; none for all that are `Trait.RETRYABLE`.
        overrides: `--set` values; of [fetch], and of [engine] those that say how fast and not what.

    Raises:
        UserError: no run there, a reason that is not retryable, a setting that must not change, changed models.
        RunFailed: some chunks failed; all others are done.
        IntegrityError: rows in are not images + failures, or an input has changed.
    """
    began = time.perf_counter()
    wanted = reasons_of(reasons)
    ledger = Ledger.at(out)
    recipe = stored_recipe(ledger, overrides)
    with ledger.lock():
        finish_forgetting(ledger)
        ledger.balance()
        before = _failures(ledger)
        chunks = [chunk for chunk in ledger.read_plan() if wanted & before.get(chunk.name, {}).keys()]
        layers = layer_work(ledger, overrides, more=bool(chunks))
        if chunks:
            from capfilt.pipelines.engine.chunk.tasks import RetryRows  # here: with nothing to do, no stage is loaded

            _note(ledger, wanted, overrides)
            planned = [PlannedChunk(chunk, ledger.spec_digest(chunk)) for chunk in chunks]
            # One chunk at a time, by the driver alone: a worker that outlives it leaves a whole transaction or none.
            after_each = partial(replay_pending, ledger.folder)
            work_through(ledger.folder, planned, recipe, ledger.run["models"], RetryRows(wanted), listener, after_each)
        complete(ledger, layers, listener)
        ledger.balance()
        listener(RunProgress("select"))
        selection = reselect(ledger, recipe)
    listener(RunProgress("done"))
    return _result(wanted, before, _failures(ledger), len(chunks), time.perf_counter() - began, selection)


def reasons_of(names: Sequence[str]) -> frozenset[str]:
    """The reasons that `--reason` names.

    Raises:
        ConfigError: an unknown one, or one that no retry can change.
    """
    short = {reason.short: reason.value for reason in Reason}
    wanted = {short.get(name, name) for name in names} or {r.value for r in Reason if r.has(Trait.RETRYABLE)}
    final = {reason.value for reason in Reason if reason.has(Trait.FINAL)}
    known = sorted({reason.value for reason in Reason} - final)
    for name in sorted(wanted):
        if name in final:
            raise ConfigError(f"--reason {name}: a retry cannot change it; use one of: {', '.join(known)}")
        if name not in known:
            raise ConfigError(f"--reason {name!r} is not known; there are: {', '.join(known)}")
    return frozenset(wanted)


def _failures(ledger: Ledger) -> dict[str, dict[str, int]]:
    """Failures by reason of every committed chunk."""
    records = ledger.records()
    return dict(zip(records["chunk"].to_pylist(), map(dict, records["reasons"].to_pylist()), strict=True))


def _note(ledger: Ledger, wanted: frozenset[str], overrides: Sequence[str]) -> None:
    """Keep what was tried with which settings: run.toml tells those of the run alone."""
    number = len(ledger.folder.names("retries", ".json"))
    note = {"reasons": sorted(wanted), "set": list(overrides)}
    ledger.folder.write(f"retries/{number:06d}.json", canonical_json(note).encode() + b"\n")


def _result(
    wanted: frozenset[str],
    before: dict[str, dict[str, int]],
    after: dict[str, dict[str, int]],
    chunks: int,
    seconds: float,
    selection: Selection,
) -> RetryResult:
    old, new = Counter[str](), Counter[str]()
    for name, reasons in before.items():
        old.update(reasons)
        new.update(after[name])
    tried = sum(count for reason, count in old.items() if reason in wanted)
    still = {reason: count - (0 if reason in wanted else old[reason]) for reason, count in new.items()}
    left = {reason: count for reason, count in sorted(still.items(), key=lambda item: -item[1]) if count > 0}
    return RetryResult(tried, old.total() - new.total(), left, chunks, seconds, selection)

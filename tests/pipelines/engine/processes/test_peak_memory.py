"""How much memory the processes of a run take at most, and what `capfilt status` says of it."""

import pytest

from capfilt.core.processes import memory
from capfilt.ledger.session import Session, save_session
from capfilt.pipelines.engine.chunk.peak_memory import larger, peak_memory
from command_line import invoke
from staged_run import MakeRun, pairs


@pytest.mark.slow
def test_what_was_taken_once_counts_after_it_was_given_back() -> None:
    before = peak_memory("worker")["worker"]
    taken = bytearray(b"x" * 2**28)
    most = peak_memory("worker")["worker"]
    del taken
    assert most >= 2**28
    assert peak_memory("worker")["worker"] >= most >= before


def test_the_processes_that_a_process_starts_are_told_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_CHILDREN", {})  # or later tests of this process would tell of it
    memory.note_peak("reader of a test", 7)
    memory.note_peak("reader of a test", 5)
    assert peak_memory("worker")["reader of a test"] == 7


def test_the_larger_of_two_processes_counts_by_their_kind() -> None:
    assert larger({"worker": 5, "gpu": 1}, {"worker": 3, "gpu": 2}) == {"worker": 5, "gpu": 2}
    assert larger({}, {"reader": 3}) == {"reader": 3}


def test_status_tells_the_peak_of_every_kind_of_process_over_all_sessions(make_run: MakeRun) -> None:
    run = make_run(pairs(6)).finish()
    assert "memory:" not in invoke("status", run.out).output  # of runs that noted nothing
    moment = "2026-11-28T20:00:00+00:00"
    for taken in ({"host": 3_000_000_000, "device": 9_000_000}, {"reader": 250_000_000, "worker": 5_000_000_000}):
        save_session(run.ledger.folder, Session(moment, moment, 6, {}, taken))
    expected = "memory:   worker 5.0 GB, model 3.0 GB, reader 250 MB, gpu 9.0 MB at most"
    assert expected in invoke("status", run.out).output

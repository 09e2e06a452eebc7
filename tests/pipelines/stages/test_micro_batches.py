"""What one bad row, a full device or a dying process costs a chunk: its own row, and nothing else."""

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capfilt.pipelines.stages.micro_batches import BatchRows, MicroBatches


class Died(BaseException):
    """Stands for the end of the process: nothing in it runs on."""


class Paper:
    """A journal that outlives "processes" in a test."""

    def __init__(self) -> None:
        self.noted: Counter[BatchRows] = Counter()
        self.at_work: BatchRows | None = None

    def begin(self) -> Counter[BatchRows]:
        if self.at_work is not None:
            self.noted[self.at_work] += 1
        self.at_work = None
        return self.noted

    def enter(self, part: BatchRows) -> None:
        self.at_work = part

    def leave(self) -> None:
        self.at_work = None

    def end(self) -> None:
        self.at_work = None


def squares(part: BatchRows) -> list[int]:
    return [row * row for row in part]


@given(st.integers(1, 100), st.integers(1, 40))
def test_every_row_once_and_no_batch_too_large(rows: int, size: int) -> None:
    seen: list[int] = []

    def work(part: BatchRows) -> list[int]:
        assert len(part) <= size
        seen.extend(part)
        return squares(part)

    results, poison = MicroBatches(size).run(range(rows), work)
    assert (results, poison) == ({row: row * row for row in range(rows)}, {})
    assert seen == list(range(rows))


@given(st.integers(20, 100), st.integers(1, 40), st.data())
def test_a_row_that_raises_is_the_only_one_lost(rows: int, size: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, rows - 1))
    calls = 0

    def work(part: BatchRows) -> list[int]:
        nonlocal calls
        calls += 1
        if bad in part:
            raise ValueError("cannot be")
        return squares(part)

    results, poison = MicroBatches(size).run(range(rows), work)
    assert poison == {bad: "ValueError: cannot be"}
    assert set(results) == set(range(rows)) - {bad}
    assert calls <= math.ceil(rows / size) + 1 + 3 * math.ceil(math.log2(max(size, 2)))


def test_an_error_that_heals_changes_no_batch() -> None:
    parts: list[BatchRows] = []

    def work(part: BatchRows) -> list[int]:
        parts.append(part)
        if len(parts) in (1, 4):
            raise torch.OutOfMemoryError("for a moment")
        return squares(part)

    batches = MicroBatches(8)
    batches.run(range(24), work)
    assert (batches.size, set(map(len, parts))) == (8, {8})


def test_a_batch_that_was_halved_for_nothing_is_worked_through_whole_again() -> None:
    """Last bits depend on how many rows are computed together; a run that was disturbed ends like one that was not."""
    calls = 0

    def work(part: BatchRows) -> list[int]:
        nonlocal calls
        calls += 1
        if calls in (2, 3, 5, 6):
            raise RuntimeError("twice in a row, and again in a half")
        return [len(part)] * len(part)

    results, poison = MicroBatches(8).run(range(20), work)
    assert results == {row: 8 if row < 16 else 4 for row in range(20)}
    assert not poison


def test_so_is_one_that_a_process_from_outside_was_killed_with() -> None:
    journal, calls = Paper(), 0

    def work(part: BatchRows) -> list[int]:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Died
        return [len(part)] * len(part)

    with pytest.raises(Died):
        MicroBatches(8, journal).run(range(20), work)
    assert MicroBatches(8, journal).run(range(20), work)[0] == {row: 8 if row < 16 else 4 for row in range(20)}


def test_one_that_dies_whole_and_not_in_halves_is_left_in_halves() -> None:
    journal, died = Paper(), 0

    def work(part: BatchRows) -> list[int]:
        if len(part) > 4 and 3 in part:
            raise Died
        return [len(part)] * len(part)

    while True:
        try:
            results, poison = MicroBatches(8, journal).run(range(20), work)
            break
        except Died:
            died += 1
    assert results == {row: 8 if 8 <= row < 16 else 4 for row in range(20)}
    assert (died, poison) == (2, {})


def test_an_error_of_another_kind_and_a_full_device_do_not_halve_the_batch_for_good() -> None:
    calls = 0

    def work(part: BatchRows) -> list[int]:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise RuntimeError("for a moment")
        if calls == 2:
            raise torch.OutOfMemoryError("for a moment")
        return [len(part)] * len(part)

    batches = MicroBatches(8)
    assert batches.run(range(16), work)[0] == dict.fromkeys(range(16), 8)
    assert batches.size == 8


def test_an_answer_of_the_wrong_length_is_an_error() -> None:
    results, poison = MicroBatches(8).run(range(20), lambda part: squares(part)[: 1 if 5 in part else None])
    assert (sorted(results), poison) == (list(range(20)), {})  # alone, one answer is right


def test_when_everything_raises_the_chunk_fails() -> None:
    def work(part: BatchRows) -> list[int]:
        raise RuntimeError("the weights are gone")

    with pytest.raises(RuntimeError, match="weights are gone"):
        MicroBatches(8).run(range(40), work)


def test_a_full_device_halves_the_batch_for_good() -> None:
    sizes: list[int] = []

    def work(part: BatchRows) -> list[int]:
        sizes.append(len(part))
        if len(part) > 6:
            raise torch.OutOfMemoryError("no memory")
        return squares(part)

    batches = MicroBatches(32)
    assert batches.run(range(50), work) == ({row: row * row for row in range(50)}, {})
    assert batches.size == 4
    assert sizes[:7] == [32, 32, 16, 16, 8, 8, 4]
    sizes.clear()
    batches.run(range(8), work)
    assert sizes == [4, 4]


def test_the_largest_batch_that_fits_is_found_and_stays() -> None:
    sizes: list[int] = []

    def work(part: BatchRows) -> list[int]:
        sizes.append(len(part))
        if len(part) > 40:
            raise torch.OutOfMemoryError("no memory")
        return squares(part)

    batches = MicroBatches("auto")
    assert batches.run(range(130), work) == ({row: row * row for row in range(130)}, {})
    assert sizes == [8, 16, 32, 64, 64, 32, 32, 10]
    sizes.clear()
    batches.run(range(130), work)
    assert sizes == [32, 32, 32, 32, 2]


def test_a_batch_does_not_grow_for_ever() -> None:
    sizes: list[int] = []

    def work(part: BatchRows) -> list[int]:
        sizes.append(len(part))
        return squares(part)

    batches = MicroBatches("auto")
    batches.run(range(2000), work)
    assert sizes == [8, 16, 32, 64, 128, 256, 512, 512, 472]


@given(st.integers(1, 64), st.integers(1, 32), st.data())
def test_a_row_that_kills_the_process_every_time_is_found(rows: int, size: int, data: st.DataObject) -> None:
    bad = data.draw(st.integers(0, rows - 1))
    journal = Paper()

    def work(part: BatchRows) -> list[int]:
        if bad in part:
            raise Died
        return squares(part)

    died = 0
    while True:  # each turn is a new process
        try:
            results, poison = MicroBatches(size, journal).run(range(rows), work)
            break
        except Died:
            died += 1
    assert poison == {bad: "the process died with this row, twice"}
    assert set(results) == set(range(rows)) - {bad}
    assert died <= 2 + math.ceil(math.log2(max(size, 2)))

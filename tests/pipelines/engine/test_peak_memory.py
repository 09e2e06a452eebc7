"""How much memory a model process takes at most."""

from capfilt.pipelines.engine.chunk.peak_memory import larger, peak_memory


def test_what_was_taken_once_counts_after_it_was_given_back() -> None:
    before = peak_memory()["host"]
    taken = bytearray(b"x" * 2**28)
    most = peak_memory()["host"]
    del taken
    assert most >= 2**28
    assert peak_memory()["host"] >= most >= before


def test_the_larger_of_two_processes_counts_by_kind_of_memory() -> None:
    assert larger({"host": 5, "device": 1}, {"host": 3, "device": 2}) == {"host": 5, "device": 2}
    assert larger({}, {"host": 3}) == {"host": 3}

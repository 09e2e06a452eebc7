"""What reaches a terminal, and what reaches a file."""

import pytest

from capfilt.cli.terminal import console
from capfilt.commands.progress import RateMeter, RunProgress
from capfilt.commands.work_time import WorkTime
from capfilt.core.formatting import clean, seconds


class Clock:
    """Seconds, told by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def start(rows_done: int = 0) -> RunProgress:
    return RunProgress("start", rows_done, 1000, 0, 10)


def work(rows_done: int, now: int, working: float, **failures: int) -> RunProgress:
    return RunProgress("work", rows_done, 1000, 0, 10, failures, rows_now=now, working=working)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a red circle", "a red circle"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("two\nlines\tand\ra tab", r"two\nlines\tand\ra tab"),
        ("csi \x9b31m, del \x7f", r"csi \x9b31m, del \x7f"),
        ("turned \u202eround", r"turned \u202eround"),
        ("half a pair \ud800", r"half a pair \ud800"),
        ("[bold]no markup[/bold] :smile:", "[bold]no markup[/bold] :smile:"),
        ("Stra\u00dfe \u65e5\u672c", "Stra\u00dfe \u65e5\u672c"),
    ],
)
def test_clean_leaves_text_and_disarms_controls(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_a_table_fits_80_columns_and_has_no_control_codes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    console.table(("caption", "score"), [("word " * 60, 0.123456), ("\x1b[31mred", None), ("[bold]x[/bold]", 1.0)])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert out.isprintable() or clean(out.replace("\n", "")) == out.replace("\n", "")
    assert r"\x1b[31mred" in out
    assert "[bold]x[/bold]" in out
    assert "0.1235" in out
    assert all(line == line.rstrip() for line in out.splitlines())


def test_numbers_stand_at_the_right(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("", "rows"), [("a", 1), ("b", 12345)])
    lines = capsys.readouterr().out.rstrip().splitlines()
    assert lines[-2].endswith("    1")
    assert lines[-1].endswith("12345")


def test_pace_counts_this_session_only_and_not_the_start_of_workers() -> None:
    clock = Clock()
    pace = RateMeter(clock)
    pace.hear(start(rows_done=500))
    clock.now += 60
    pace.hear(work(700, 200, 10.0, http_404=3, timeout=1))
    assert pace.words() == "working: 700/1000 rows, 4 failed, 20 rows/s, 15 s left"
    clock.now += 5
    assert pace.words().endswith("10 s left")
    pace.hear(work(800, 300, 30.0))
    assert pace.words() == "working: 800/1000 rows, 10 rows/s, 20 s left"
    clock.now += 60
    assert pace.words().endswith(" 0 s left")


def test_work_begins_where_the_first_committed_chunk_began() -> None:
    clock = Clock()
    work_time = WorkTime(clock)
    clock.now += 60  # workers start; then the first chunk takes 8 s
    assert work_time.commit({"fetch": 5.0, "caption": 3.0}) == 8
    clock.now += 4
    assert work_time.commit({"fetch": 9.0}) == 12


def test_pace_says_nothing_of_speed_before_the_first_rows() -> None:
    pace = RateMeter(Clock())
    assert pace.words() == ""
    pace.hear(RunProgress("plan"))
    assert pace.words() == "planning"
    pace.hear(start())
    assert pace.words() == "starting workers: 0/1000 rows"


def test_plain_lines_come_every_5_seconds_at_most_and_with_each_phase(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    listen = console.plain_listener(clock)
    listen(start())
    for step in range(1, 81):
        clock.now += 0.125
        listen(work(step * 8, step * 8, step * 0.125))
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "starting workers: 0/1000 rows",
        "working: 8/1000 rows, 64 rows/s, 16 s left",
        "working: 328/1000 rows, 64 rows/s, 10 s left",
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.2, "0 s"), (59.4, "59 s"), (59.6, "1:00 min"), (187, "3:07 min"), (3599.7, "1:00:00 h"), (7500, "2:05:00 h")],
)
def test_durations(value: float, words: str) -> None:
    assert seconds(value) == words

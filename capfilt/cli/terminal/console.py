"""Terminal output: lines, tables and progress. The only module that imports rich's console.

Captions come from strangers, so all text passes `clean` first. When standard output is not a terminal, output is plain
lines, 80 columns wide, without control codes.
"""

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from rich import box
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task
from rich.progress import Progress as Bar
from rich.table import Column, Table
from rich.text import Text

from capfilt.commands.progress import RateMeter
from capfilt.core.formatting import clean, megabytes, seconds

if TYPE_CHECKING:
    from capfilt.commands.progress import RunProgress
    from capfilt.commands.verify import VerifyProgress
    from capfilt.models.training.loop import TrainProgress as Steps

WIDTH: Final = 80
EVERY: Final = 5.0
"""Minimum seconds between two plain progress lines of one phase."""

Cell = str | int | float | None

# A number, a share in percent, or - for none.
_NUMBER: Final = re.compile(r"-|-?\d[\d.e+-]*( %)?")


def say(text: str = "") -> None:
    """A line on standard output, never broken."""
    print(clean(text), flush=True)


def complain(kind: str, text: str) -> None:
    """A line on standard error: "error: ..." or "warning: ..."."""
    print(f"{kind}: {clean(text)}", file=sys.stderr, flush=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """A table as wide as the terminal at most, after an empty line; columns of numbers stand at the right."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    cells = [[_shown(cell) for cell in row] for row in rows]
    for number, header in enumerate(headers):
        numeric = all(_NUMBER.fullmatch(row[number]) for row in cells)
        drawn.add_column(Text(clean(header)), justify="right" if numeric else "left", no_wrap=numeric, overflow="fold")
    for row in cells:
        drawn.add_row(*map(Text, row))
    console = _console()
    with console.capture() as captured:
        console.print(drawn)
    print("\n".join(["", *(line.rstrip() for line in captured.get().splitlines())]), flush=True)


@contextmanager
def progress() -> "Iterator[Callable[[RunProgress], None]]":
    """A listener for `capfilt.commands.run.run`: a live bar on a terminal, elsewhere a plain line now and then."""
    console = _console()
    if not console.is_terminal or console.is_dumb_terminal:
        yield plain_listener()
        return
    pace = RateMeter()
    columns = (SpinnerColumn(), BarColumn(bar_width=12), _WordsColumn(pace.words))
    with Bar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def listen(heard: "RunProgress") -> None:
            _say_notes(heard)
            pace.hear(heard)
            bar.update(task, completed=heard.rows_done, total=heard.rows_planned or None)

        yield listen


def _say_notes(heard: "RunProgress") -> None:
    """What is not read of the inputs, before any work."""
    for note in heard.notes:
        say(f"skipped: {note}")


def plain_listener(clock: Callable[[], float] = time.monotonic) -> "Callable[[RunProgress], None]":
    """Says a line when another phase begins, and else when it hears something `EVERY` seconds after the last one.

    Not that it is done, for the account of the run follows.
    """
    pace = RateMeter(clock)
    said, phase = float("-inf"), ""

    def listen(heard: "RunProgress") -> None:
        nonlocal said, phase
        if heard.phase == "planned":
            _say_notes(heard)
            return
        pace.hear(heard)
        if heard.phase != "done" and (heard.phase != phase or clock() - said >= EVERY):
            say(pace.words())
            said, phase = clock(), heard.phase

    return listen


@contextmanager
def training() -> "Iterator[Callable[[Steps], None]]":
    """A listener for `train`: a live bar on a terminal, elsewhere a line each time it hears something."""
    console = _console()
    if not console.is_terminal or console.is_dumb_terminal:
        yield lambda heard: say(step_words(heard))
        return
    latest = ""
    with Bar(BarColumn(bar_width=12), _WordsColumn(lambda: latest), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def listen(heard: "Steps") -> None:
            nonlocal latest
            latest = step_words(heard, short=True)
            bar.update(task, completed=heard.step, total=heard.steps)

        yield listen


@contextmanager
def reading() -> "Iterator[Callable[[VerifyProgress], None]]":
    """A listener for `verify`: a live bar on a terminal, elsewhere a line every `EVERY` seconds."""
    console = _console()
    if not console.is_terminal or console.is_dumb_terminal:
        said = time.monotonic()

        def tell(heard: "VerifyProgress") -> None:
            nonlocal said
            if time.monotonic() - said >= EVERY:
                say(f"reading: {reading_words(heard)}")
                said = time.monotonic()

        yield tell
        return
    latest = ""
    with Bar(BarColumn(bar_width=12), _WordsColumn(lambda: latest), console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def listen(heard: "VerifyProgress") -> None:
            nonlocal latest
            latest = reading_words(heard)
            bar.update(task, completed=heard.bytes_done, total=heard.bytes_all)

        yield listen


def reading_words(heard: "VerifyProgress") -> str:
    """Like "1.2 GB of 30 GB, 450 MB/s, 1:03 min left, 2 damaged"."""
    parts = [f"{megabytes(heard.bytes_done)} of {megabytes(heard.bytes_all)}"]
    if heard.seconds and heard.bytes_done:
        rate = heard.bytes_done / heard.seconds
        parts += [f"{megabytes(rate)}/s", f"{seconds((heard.bytes_all - heard.bytes_done) / rate)} left"]
    return ", ".join([*parts, *([f"{heard.damaged} damaged"] if heard.damaged else [])])


def step_words(heard: "Steps", short: bool = False) -> str:
    """Like "step 50/1200  itc 2.786  lm 3.262  64 pairs/s  1:15 min left"; short enough to stand beside a bar."""
    losses = (f"{name} {value:.{2 if short else 3}f}" for name, value in heard.losses.items())
    pace = f"{heard.pairs_per_second:.3g}{'/s' if short else ' pairs/s'}"
    left = f"{seconds(heard.seconds_left)} left"
    return "  ".join([f"{'' if short else 'step '}{heard.step}/{heard.steps}", *losses, pace, left])


class _WordsColumn(ProgressColumn):
    """Words that are asked for all the time, so that the seconds left run down between two commits."""

    def __init__(self, words: Callable[[], str]) -> None:
        super().__init__(Column(no_wrap=True))
        self._words = words

    def render(self, task: Task) -> Text:
        return Text(self._words())


def _console() -> Console:
    """Made anew each time: standard output may have been exchanged since."""
    live = sys.stdout.isatty()
    # No force_terminal from the environment (FORCE_COLOR): a file must not get control codes.
    return Console(force_terminal=live, width=None if live else WIDTH, highlight=False, markup=False, emoji=False)


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.4g}"
    return clean(str(cell))

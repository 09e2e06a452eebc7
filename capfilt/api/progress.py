"""Progress of a run: a bar in a notebook or on a terminal, a caller's own function, or nothing."""

import html
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from capfilt.commands.progress import Listener, RateMeter, RunProgress


@contextmanager
def listener(progress: "bool | Listener | None") -> Iterator[Listener]:
    """What `commands.run.run` tells where it is.

    Args:
        progress: True = shown, False = not, None = shown in a notebook alone; or a function that is told.
    """
    if callable(progress):
        yield progress
    elif progress is not False and (display := _notebook()):
        yield notebook_listener(display)
    elif progress:
        from capfilt.cli.terminal import console

        with console.progress() as listen:
            yield listen
    else:
        yield lambda _: None


def notebook_listener(display: Callable[..., Any]) -> Listener:
    """A bar below the cell, redrawn in one and the same place.

    Args:
        display: `IPython.display.display`.
    """
    rate, handle = RateMeter(), None

    def listen(heard: RunProgress) -> None:
        nonlocal handle
        rate.hear(heard)
        drawn = _Html(_bar(heard, rate.words()))
        if handle is None:
            handle = display(drawn, display_id=True)
        else:
            handle.update(drawn)

    return listen


class _Html:
    """What a notebook draws."""

    def __init__(self, text: str) -> None:
        self._text = text

    def _repr_html_(self) -> str:
        return self._text


def _bar(heard: RunProgress, words: str) -> str:
    done, planned = (1, 1) if heard.phase == "done" else (heard.rows_done, heard.rows_planned)
    value = f' value="{done}" max="{planned}"' if planned else ""  # without them it moves to and fro
    return f"<progress{value}></progress> {html.escape(words)}"


def _notebook() -> "Callable[..., Any] | None":
    """`display` of the notebook that this process is the kernel of."""
    if "IPython" not in sys.modules:  # who has not loaded it is no notebook
        return None
    from IPython import get_ipython
    from IPython.display import display

    shell = get_ipython()
    return display if shell is not None and hasattr(shell, "kernel") else None

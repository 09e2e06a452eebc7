"""How errors are shown: one line and an exit code."""

import io
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

from capfilt.core.errors import CapfiltError, RenamedSetting, UnconditionalStore, UnknownWords, UserError

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
"""Exit codes of an interrupted run: Ctrl-C, or SIGTERM as a scheduler sends it before it takes the machine."""


class Terminated(BaseException):
    """The process received SIGTERM."""


class CommandGroup(TyperGroup):
    """The group of all commands; it turns `CapfiltError` and Ctrl-C into a line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a caption may hold characters that the terminal's encoding lacks
                stream.reconfigure(errors="backslashreplace")
        warnings.showwarning = _show_warning
        try:
            return super().invoke(ctx)
        except UserError as error:
            code = _end("error", str(error), 2)
        except CapfiltError as error:
            code = _end("error", str(error), 1)
        except KeyboardInterrupt:
            code = INTERRUPTED
        except Exception as error:
            # Here: it imports pyarrow, which `--help` does without.
            from capfilt.cli.terminal.system_errors import as_ours

            if (ours := as_ours(error)) is None:
                raise
            code = _end("error", str(ours), 1)
        raise typer.Exit(code)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """What we warn of ourselves is one line; every other warning looks as Python shows it."""
    if issubclass(category, RenamedSetting | UnconditionalStore | UnknownWords):
        typer.echo(f"warning: {message}", err=True)
    else:
        typer.echo(warnings.formatwarning(message, category, filename, lineno, line), nl=False, err=True)


@contextmanager
def resumable(left: str = "committed chunks are kept; re-run the same command to resume") -> Iterator[None]:
    """Around work on a run: SIGTERM and Ctrl-C drop the chunks in flight and end with one line and an exit code.

    Args:
        left: what the line says is left behind.
    """
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    except (KeyboardInterrupt, Terminated) as stop:
        code = TERMINATED if isinstance(stop, Terminated) else INTERRUPTED
        _end("interrupted", left, code)
        raise typer.Exit(code) from None
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_: object) -> None:
    raise Terminated


def _end(kind: str, text: str, code: int) -> int:
    from capfilt.cli.terminal.console import complain
    from capfilt.core.secrets import redact

    complain(kind, redact(text))
    return code

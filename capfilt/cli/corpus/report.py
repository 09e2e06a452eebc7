"""`capfilt report`: one page to look at a run."""

from pathlib import Path
from typing import Annotated

import typer

from capfilt.cli.terminal.options import Run


def report(
    out: Run,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write it here too. Default: only OUT/report.html.", show_default=False),
    ] = None,
) -> None:
    """Make one page of a run: numbers, curves and pictures.

    It is one file that needs no network and runs nothing it did not bring: OUT/report.html.
    """
    from capfilt.cli.terminal import console
    from capfilt.core.errors import ConfigError
    from capfilt.core.storage import Folder
    from capfilt.report import NAME, write_report

    page = write_report(Folder.at(out))
    if output is not None:
        try:
            output.write_bytes(page)
        except OSError as error:
            raise ConfigError(f"--output {output}: {error.strerror}") from error
    console.say(f"report: {out.rstrip('/')}/{NAME} ({len(page) / 1e6:.1f} MB); open it in a browser")

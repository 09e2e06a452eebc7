"""`capfilt report`: an HTML report of a run."""

from pathlib import Path
from typing import Annotated

import typer

from capfilt.cli.terminal.options import Run


def report(
    out: Run,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write the report here. Default: only OUT/report.html.", show_default=False
        ),
    ] = None,
) -> None:
    """Write an HTML report: counts, charts and examples.

    OUT/report.html is one self-contained file: it loads nothing from the network.
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

"""`capfilt retry`: retry failed rows of a run."""

from typing import Annotated

import typer

from capfilt.cli.terminal.errors import resumable
from capfilt.cli.terminal.options import Run, settings_option
from capfilt.core.formatting import seconds


def retry(
    out: Run,
    reasons: Annotated[
        list[str] | None,
        typer.Option(
            "--reason",
            metavar="REASON,...",
            help="Retry only rows that failed for these reasons, e.g. timeout,dns,5xx. Default: all transient reasons.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[list[str] | None, settings_option("Change a setting of [fetch], e.g. fetch.timeout=60")] = None,
) -> None:
    """Retry rows that failed for a transient reason.

    Recovered rows are captioned, scored and selected; other rows do not change. After an interruption,
    re-run to resume.
    """
    from capfilt.cli.terminal import console
    from capfilt.commands.retry import retry as try_again

    named = [name.strip() for given in reasons or () for name in given.split(",") if name.strip()]
    with resumable(), console.progress() as listener:
        done = try_again(out, named, settings or (), listener=listener)
    if not done.chunks:
        console.say("nothing to do: no row failed for these reasons")
        return
    console.say(f"{done.recovered} of {done.tried} rows recovered, {done.chunks} chunks, {seconds(done.seconds)}")
    console.table(
        ("", "rows"), [("recovered", done.recovered), *(("  " + name, n) for name, n in done.failures.items())]
    )

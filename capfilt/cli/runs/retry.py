"""`capfilt retry`: another try for what failed, into the same run."""

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
            help="Only rows that failed for these reasons, e.g. timeout,dns,5xx. Default: all that may heal by itself.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[list[str] | None, settings_option("Change a setting of [fetch], e.g. fetch.timeout=60")] = None,
) -> None:
    """Fetch once more what failed and may have healed.

    What comes is captioned, scored and selected.

    Other rows stay as they are. Killed, it goes on with the same command.
    """
    from capfilt.cli.terminal import console
    from capfilt.commands.retry import retry as try_again

    named = [name.strip() for given in reasons or () for name in given.split(",") if name.strip()]
    with resumable(), console.progress() as listener:
        done = try_again(out, named, settings or (), listener=listener)
    if not done.chunks:
        console.say("nothing to try: no row failed for such a reason")
        return
    console.say(f"{done.healed} of {done.tried} rows healed, {done.chunks} chunks, {seconds(done.seconds)}")
    console.table(("", "rows"), [("healed", done.healed), *(("  " + name, n) for name, n in done.failures.items())])

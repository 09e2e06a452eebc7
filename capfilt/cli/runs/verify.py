"""`capfilt verify`: is every file of a run what was written?"""

from typing import TYPE_CHECKING, Annotated

import typer

from capfilt.cli.terminal.errors import resumable
from capfilt.cli.terminal.options import Run, settings_option

if TYPE_CHECKING:
    from capfilt.commands.verify import Verified


def verify(
    out: Run,
    sample: Annotated[
        int | None,
        typer.Option(min=1, metavar="CHUNKS", help="Read only so many chunks, drawn at random. Default: all."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of --sample.")] = 0,
    settings: Annotated[
        list[str] | None,
        settings_option("With --repair, change a setting of [fetch] or [engine], e.g. fetch.timeout=60"),
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Run damaged chunks again and select again. Default: only name them.")
    ] = False,
) -> None:
    """Read the files of a run and name those that are damaged.

    Committed tables are checked against the SHA-256 in their commit records,
    other tables against the checksums of their pages. Exit code 0 only if
    nothing is damaged, or all of it was repaired.
    """
    from capfilt.cli.terminal import console
    from capfilt.commands.verify import repair as make_again
    from capfilt.commands.verify import verify as read_all

    with console.reading() as heard:
        found = read_all(out, sample=sample, seed=seed, listener=heard)
    _report(found)
    if not found.damaged:
        return
    if not repair:
        console.say("--repair makes them again; damaged chunks are fetched again from their inputs")
        raise typer.Exit(1)
    with resumable(), console.progress() as listener:
        chunks = make_again(out, found, settings or (), listener=listener)
    console.say(f"repaired: {chunks} chunks were run again; copies of their damaged files are in {out}/damaged")


def _report(found: "Verified") -> None:
    from capfilt.cli.terminal import console
    from capfilt.core.formatting import megabytes, seconds

    rate = f", {megabytes(found.bytes_read / found.seconds)}/s" if found.seconds else ""
    left_out = f"; --sample left out {found.unread}" if found.unread else ""
    read = f"{found.files} files, {megabytes(found.bytes_read)} in {seconds(found.seconds)}{rate}{left_out}"
    console.say(f"read: {read}")
    if found.damaged:
        console.table(("damaged", "what is wrong"), sorted(found.damaged.items()))
    console.say(f"damaged: {len(found.damaged) or 'none'}")

"""`capfilt browse`: decide by looking."""

from typing import Annotated

import typer

from capfilt.cli.terminal.options import Run


def browse(
    out: Run,
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, metavar="N", help="Port on 127.0.0.1. Default: a free one.", show_default=False),
    ] = 0,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.", show_default=False)] = False,
) -> None:
    """Decide by looking, in a browser on this machine.

    The page shows the pictures with all their texts and scores; there a threshold is moved and made a selection, and
    texts are marked right or wrong. Nobody but this machine can open it, and only at the address that is printed: it
    holds a key. Ctrl-C ends it.
    """
    from capfilt.browse.server import serve
    from capfilt.ledger.ledger import Ledger

    try:
        serve(Ledger.at(out), port, lambda address: _announce(address, open_page))
    except KeyboardInterrupt:
        return  # that is how it ends


def _announce(address: str, open_page: bool) -> None:
    import webbrowser

    from capfilt.cli.terminal import console

    console.say(f"open:  {address}")
    console.say("stop:  Ctrl-C")
    if open_page:
        webbrowser.open(address)

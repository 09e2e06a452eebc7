"""`capfilt browse`: review a run in the browser."""

from typing import Annotated

import typer

from capfilt.cli.terminal.options import Run


def browse(
    out: Run,
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="N", help="Port on 127.0.0.1. Default: any free port.", show_default=False
        ),
    ] = 0,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open the page in a browser. Default: no.", show_default=False)
    ] = False,
) -> None:
    """Review images, texts and scores in a local web page.

    Move a threshold and save it as a selection; mark texts as right or wrong. The page is served on 127.0.0.1 only, and
    its address contains a secret key. Press Ctrl-C to stop.
    """
    from capfilt.browse.server import serve
    from capfilt.ledger.ledger import Ledger

    try:
        serve(Ledger.at(out), port, lambda address: _announce(address, open_page))
    except KeyboardInterrupt:
        return  # Ctrl-C is the way to stop it


def _announce(address: str, open_page: bool) -> None:
    from capfilt.cli.terminal import console

    console.say(f"open:  {address}")
    console.say("stop:  Ctrl-C")
    if open_page:
        _open(address)


def _open(address: str) -> None:
    """Open a page by way of a file that only its owner reads: every user of a machine sees a browser's arguments."""
    import tempfile
    import webbrowser
    from html import escape
    from pathlib import Path

    with tempfile.NamedTemporaryFile("w", suffix=".html", prefix="capfilt-", delete=False) as page:  # mode 0600
        page.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(address)}">')
    webbrowser.open(Path(page.name).as_uri())

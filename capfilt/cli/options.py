"""Arguments and options that several commands share."""

from typing import Annotated, Any

import typer

Run = Annotated[str, typer.Argument(metavar="OUT", help="Folder or bucket URL of a run.", show_default=False)]
"""A run that is there."""

Out = Annotated[str, typer.Option(metavar="DIR", help="Folder or bucket URL of the run.", show_default=False)]
"""A run that is made, or gone on with."""

RecipeName = Annotated[
    str, typer.Option("--recipe", metavar="NAME|FILE.toml", help="A name of `capfilt recipes`, or a TOML file.")
]

Limit = Annotated[
    int | None,
    typer.Option(min=1, metavar="ROWS", help="Only the first ROWS rows. Default: all.", show_default=False),
]


def settings_option(what: str) -> Any:
    """`--set KEY=VALUE`, which may be given again.

    Args:
        what: what it changes, with an example.
    """
    text = f"{what}; may be given again. Default: none."
    return typer.Option("--set", metavar="KEY=VALUE", help=text, show_default=False)

"""Arguments and options that several commands share."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from capfilt.core.serialization import setting

Run = Annotated[str, typer.Argument(metavar="OUT", help="Folder or bucket URL of a run.", show_default=False)]
"""An existing run."""

Inputs = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT",
        help="URL lists, .tar shards, Parquet with images, image folders: paths, globs, folders or bucket URLs.",
        show_default=False,
    ),
]

Out = Annotated[str, typer.Option(metavar="DIR", help="Folder or bucket URL of the run.", show_default=False)]
"""A run to create or resume."""

RecipeName = Annotated[
    str, typer.Option("--recipe", metavar="NAME|FILE.toml", help="A name listed by `capfilt recipes`, or a TOML file.")
]

Append = Annotated[
    bool,
    typer.Option(
        "--append",
        help="Add INPUT to the run in DIR, with its own recipe; files that it has are skipped. Default: off.",
        show_default=False,
    ),
]

Watch = Annotated[
    float | None,
    typer.Option(
        "--watch",
        metavar="SECONDS",
        min=1,
        help="With --append: look for new inputs again and again, this long after each look. Default: look once.",
        show_default=False,
    ),
]

ExcludeEval = Annotated[
    list[str] | None,
    typer.Option(
        "--exclude-eval",
        metavar="DIR|FILE",
        help="Drop images that also occur in this evaluation set. Repeatable. Default: none.",
        show_default=False,
    ),
]

Limit = Annotated[
    int | None,
    typer.Option(min=1, metavar="ROWS", help="Process only the first ROWS rows. Default: all.", show_default=False),
]


def settings_option(what: str) -> Any:
    """`--set KEY=VALUE`, repeatable.

    Args:
        what: what it changes, with an example.
    """
    return typer.Option("--set", metavar="KEY=VALUE", help=f"{what}. Repeatable. Default: none.", show_default=False)


RunSettings = Annotated[list[str] | None, settings_option("Change a setting of the recipe, e.g. caption.n=10")]


def with_evaluation_sets(settings: Sequence[str] | None, exclude_eval: Sequence[str] | None) -> tuple[str, ...]:
    """`--set` values with those of `--exclude-eval` as the setting they stand for."""
    sets = [setting("decode.exclude_eval", list(exclude_eval))] if exclude_eval else []
    return (*(settings or ()), *sets)


def old_name(name: str, new: str, given: bool) -> bool:
    """Whether an option was given under its old name; says so in one warning line.

    Old names of options are hidden from the help and work for one release.
    """
    if given:
        from capfilt.cli.terminal.console import complain

        complain("warning", f"{name} is now called {new}; the old name will be removed in the next release")
    return given

"""`capfilt check` and `capfilt run --dry-run`: what a run would read, and what a sample says of the whole."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from capfilt.cli.terminal.errors import resumable
from capfilt.cli.terminal.options import ExcludeEval, Inputs, Limit, RecipeName, RunSettings, with_evaluation_sets

if TYPE_CHECKING:
    from capfilt.core.config import Recipe
    from capfilt.preview.check import CheckReport
    from capfilt.preview.rows import ShownRow
    from capfilt.preview.words import FactTable

NAME: Final = 36
"""Characters of a row's or a file's name that are shown, the last ones; and of a URL, the first ones."""


def check(
    inputs: Inputs,
    recipe: RecipeName = "blip",
    settings: RunSettings = None,
    exclude_eval: ExcludeEval = None,
    limit: Limit = None,
    sample: Annotated[
        int | None,
        typer.Option(
            "--sample",
            min=1,
            metavar="ROWS",
            help="Take ROWS rows through all stages, and estimate the whole run. Default: none.",
            show_default=False,
        ),
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(
            "--price-per-gpu-hour", min=0, metavar="PRICE", help="With --sample: also estimate money. Default: none."
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="PAGE", help="Also write a page with thumbnails. Default: none."),
    ] = None,
) -> None:
    """Show what a run would read of INPUT; estimate its time.

    Files by kind, the columns chosen and why, ten rows with their texts, and what is left out and why. No run is made.
    With --sample, some rows are captioned and scored, and time and storage of the whole run are estimated.
    Exit code 1 if no image or no text can be used, 2 if INPUT cannot be read.
    """
    from capfilt.pipelines.recipes.load import load_recipe

    chosen = load_recipe(recipe, with_evaluation_sets(settings, exclude_eval))
    look(inputs, chosen, limit=limit, sample=sample, price=price, html=html)


def look(
    inputs: Sequence[str],
    recipe: "Recipe",
    *,
    limit: int | None = None,
    sample: int | None = None,
    price: float | None = None,
    html: Path | None = None,
) -> None:
    """Check, and say what was found; ends the command with exit code 1 where nothing can be used."""
    from capfilt.cli.terminal import console
    from capfilt.preview.check import check as check_inputs

    with resumable("nothing was written"), console.progress() as listener:
        found = check_inputs(
            inputs, recipe, limit=limit, sample=sample, price=price, thumbnails=html is not None, listener=listener
        )
    say(found)
    if html:
        write_page(html, found)
    if found.problem:
        console.complain("error", found.problem)
        raise typer.Exit(1)


def say(found: "CheckReport") -> None:
    """Print what was found."""
    from capfilt.cli.terminal import console
    from capfilt.preview import words

    for facts in words.survey_tables(found.survey):
        _table(facts)
    console.say()
    for line in words.survey_lines(found.survey, found.chunks):
        console.say(line)
    rows = [(_tail(row.source), words.image_words(row, NAME), _texts(row)) for row in found.shown]
    console.table(("row", "image", "texts"), rows)
    if found.sample and found.estimate:
        for facts in (*words.sample_tables(found.sample), words.estimate_table(found.estimate)):
            _table(facts)
    console.say()
    for line in words.estimate_lines(found):
        console.say(line)


def write_page(html: Path, found: "CheckReport") -> None:
    """Write the page, and say where."""
    from capfilt.cli.terminal import console
    from capfilt.core.errors import ConfigError
    from capfilt.preview.page import page

    try:
        html.write_text(page(found), encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--html {html}: {error.strerror}") from error
    console.say(f"page: {html}")


def _table(facts: "FactTable") -> None:
    from capfilt.cli.terminal import console

    if facts.title:
        console.say()
        console.say(facts.title)
    console.table(facts.headers, facts.rows)


def _tail(name: str) -> str:
    return name if len(name) <= NAME else f"...{name[3 - NAME :]}"


def _texts(row: "ShownRow") -> str:
    from capfilt.preview.words import TEXT, shortened

    shown = [shortened(text, TEXT) for text in row.texts]
    return " | ".join(shown[:2]) + (f" | ... ({len(shown)})" if len(shown) > 2 else "") or "-"

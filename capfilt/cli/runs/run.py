"""`capfilt run`: caption, score and select your own data."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capfilt.cli.runs.check import look
from capfilt.cli.terminal.errors import resumable
from capfilt.cli.terminal.options import (
    Append,
    ExcludeEval,
    Inputs,
    Limit,
    Out,
    RecipeName,
    RunSettings,
    Watch,
    with_evaluation_sets,
)
from capfilt.core.errors import ConfigError
from capfilt.core.formatting import memory, seconds
from capfilt.core.serialization import setting

if TYPE_CHECKING:
    from capfilt.commands.run import RunResult
    from capfilt.core.config import Recipe


def run(
    inputs: Inputs,
    out: Out,
    recipe: RecipeName = "blip",
    settings: RunSettings = None,
    exclude_eval: ExcludeEval = None,
    address: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT|ray://...",
            help="Ray cluster to run on; auto = the one this machine belongs to. Default: engine.address (local).",
            show_default=False,
        ),
    ] = None,
    limit: Limit = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Fail if DIR already holds a run. Default: resume it.", show_default=False)
    ] = False,
    append: Append = False,
    watch: Watch = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what `capfilt check` shows; write nothing. Default: run.", show_default=False
        ),
    ] = False,
) -> None:
    """Caption, score and select the image-text pairs of INPUT.

    Re-running is a no-op; after an interruption it resumes. If an input or setting changed, the run stops and names it.
    """
    from capfilt.pipelines.recipes.load import load_recipe

    given = [setting("engine.address", address)] if address else []
    if watch and not append:
        raise ConfigError("--watch needs --append: start the run without both, then watch for what is to join it")
    if append:
        other = recipe != "blip" or exclude_eval or limit or fresh or dry_run
        _append(inputs, out, (*(settings or ()), *given), other, watch)
        return
    chosen = load_recipe(recipe, (*with_evaluation_sets(settings, exclude_eval), *given))
    if dry_run:
        look(inputs, chosen, limit=limit)
        return
    warn_of_demo_models(chosen)
    with resumable():
        from capfilt.cli.terminal import console
        from capfilt.commands.run import run as run_all

        with console.progress() as listener:
            outcome = run_all(inputs, out, chosen, limit=limit, fresh=fresh, listener=listener)
    _report(out, outcome)


def _append(inputs: list[str], out: str, settings: tuple[str, ...], other: object, watch: float | None) -> None:
    if other:
        raise ConfigError("--append uses the recipe of the run and whole inputs: only --set can stand beside it")
    with resumable():
        outcome = _look_and_append(inputs, out, settings, watch)
        _report(out, outcome)
        while watch:
            time.sleep(watch)
            outcome = _look_and_append(inputs, out, settings, watch)
            if outcome.chunks_now:  # most looks find nothing, and the account would be the last one again
                _report(out, outcome)


def _look_and_append(inputs: list[str], out: str, settings: tuple[str, ...], watch: float | None) -> "RunResult":
    from capfilt.cli.terminal import console
    from capfilt.commands.run import append

    with console.progress() as listener:
        return append(inputs, out, settings, quiet=watch or 0, listener=listener)


def say_what_was_done(outcome: "RunResult") -> None:
    """Print how much work this session did."""
    from capfilt.cli.terminal import console

    if outcome.chunks_now:
        console.say(f"{outcome.chunks_now} of {outcome.chunks} chunks done in {seconds(outcome.seconds)}")
    else:
        console.say(f"nothing to do: all {outcome.chunks} chunks ({outcome.rows} rows) are complete")


def say_where(out: str, images: int, sql: str) -> None:
    """Print where the corpus is, and a query to try."""
    from capfilt.cli.terminal import console

    corpus = f"{out.rstrip('/')}/corpus" if "://" in out else str(Path(out) / "corpus")
    console.say(f"corpus: {corpus}/*.parquet ({images} images)")
    console.say(f'try:    capfilt query {out} "{sql}"')


def warn_of_demo_models(recipe: "Recipe") -> None:
    """Warn that the demo's models are of no use on photographs."""
    from capfilt.cli.terminal.console import complain

    named = {*recipe.caption.captioners, *recipe.score.judges}
    if demo := sorted(named & {"demo-captioner", "demo-filter"}):
        complain(
            "warning",
            f"{' and '.join(demo)}: trained on drawn shapes only, useless on photographs; "
            "set caption.captioner and score.judges",
        )


def _report(out: str, outcome: "RunResult") -> None:
    from capfilt.cli.runs.status import count_rows, failure_rows, odd_score_lines
    from capfilt.cli.terminal import console
    from capfilt.core.storage import Folder
    from capfilt.ledger.status import status

    selection, stand = outcome.selection, status(Folder.at(out))
    sources = sorted(selection.kept.keys() | selection.dropped.keys(), key=("web", "human", "synthetic").index)
    say_what_was_done(outcome)
    if most := memory(outcome.memory):
        console.say(f"peak memory: {most}")
    console.table(("", "rows"), [*count_rows(stand), *failure_rows(stand)])
    console.table(
        ("texts", "kept", "dropped"),
        [(source, selection.kept.get(source, 0), selection.dropped.get(source, 0)) for source in sources],
    )
    console.say()
    for line in odd_score_lines(stand):
        console.complain("warning", line)
    if stand.empty:
        console.complain("error", stand.empty)
        raise typer.Exit(1)
    say_where(out, selection.images, "SELECT text, width, height FROM corpus LIMIT 9")

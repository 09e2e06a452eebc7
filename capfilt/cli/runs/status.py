"""`capfilt status` and `capfilt recipes`: read-only commands."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from capfilt.cli.terminal.options import Run
from capfilt.core.formatting import memory, percent, speed

if TYPE_CHECKING:
    from capfilt.ledger.status import LayerStatus, Status

Row = tuple[str, int]


def status(out: Run) -> None:
    """Show the progress and the integrity of a run.

    Exit code 0 if the run is complete and balanced and has images and texts, else 1.
    """
    from capfilt.cli.terminal import console
    from capfilt.core.storage import Folder
    from capfilt.ledger.status import status as read_status

    stand = read_status(Folder.at(out))
    console.table(("", "rows"), [*count_rows(stand), *failure_rows(stand)])
    if stand.captions:
        console.table(("texts", "all"), list(stand.captions.items()))
    console.say()
    for line in _lines(stand):
        console.say(line)
    if stand.empty:
        console.complain("error", stand.empty)
    if not (stand.complete and stand.balanced) or stand.empty:
        raise typer.Exit(1)


def recipes(
    schema: Annotated[
        Literal["run", "train", "bootstrap"] | None,
        typer.Option(
            "--schema", help="Print the JSON Schema of recipes of this kind instead. Default: none.", show_default=False
        ),
    ] = None,
) -> None:
    """List the recipes that ship with capfilt.

    Editors complete and check a recipe whose first line names its schema: `#:schema PATH` (Taplo, Even Better TOML).
    """
    from capfilt.cli.terminal import console
    from capfilt.pipelines.recipes.load import load_recipe, recipe_names

    if schema:
        from capfilt.cli.runs.recipe_schema import schema_text

        print(schema_text(schema), end="")
        return
    console.table(("recipe", "about"), [(name, load_recipe(name).about) for name in recipe_names()])


def count_rows(stand: "Status") -> list[Row]:
    """Rows of a table: what went in, what came out."""
    return [("rows in", stand.rows_done), ("images", stand.images), ("failures", sum(stand.failures.values()))]


def failure_rows(stand: "Status") -> list[Row]:
    """Rows of a table: failures by reason."""
    return [(f"  {reason}", count) for reason, count in stand.failures.items()]


def _lines(stand: "Status") -> list[str]:
    chunks = stand.chunks_done + stand.chunks_left
    rate = f", {speed(stand.rate)} in the latest session" if stand.rate else ""
    return [
        f"chunks:   {stand.chunks_done} of {chunks} done, {stand.rows_done} of {stand.rows_planned} rows{rate}",
        *([f"appended: {stand.appended} times"] if stand.appended else []),
        f"complete: {_complete(stand)}",
        *(_layer_line(layer) for layer in stand.layers),
        f"balanced: {'yes, rows in = images + failures' if stand.balanced else f'NO: {stand.problem}'}",
        f"selected: {'yes' if stand.selected else 'no, the latest selection is of other chunks'}",
        *([f"stored:   images resized: {stand.stored}"] if stand.stored else []),
        *(
            [f"busy:     model actors work {percent(stand.busy)} of the time of the latest session"]
            if stand.busy
            else []
        ),
        *([f"memory:   {memory(stand.memory)} at most"] if stand.memory else []),
        *(f"skipped:  {note}" for note in stand.left_out),
        *(f"warning:  {line}" for line in odd_score_lines(stand)),
    ]


def _complete(stand: "Status") -> str:
    if stand.chunks_left:
        return f"no, {stand.chunks_left} chunks left; re-run to resume"
    lacking = [layer.name for layer in stand.layers if layer.chunks_left]
    return f"no, `capfilt annotate OUT` completes {', '.join(lacking)}" if lacking else "yes"


def _layer_line(layer: "LayerStatus") -> str:
    chunks = f"{layer.chunks_done} of {layer.chunks_done + layer.chunks_left} chunks"
    reasons = ", ".join(f"{count} {reason}" for reason, count in layer.without.items())
    lacks = "images without captions" if layer.subject == "captions" else "without a value"
    without = f", {sum(layer.without.values())} {lacks} ({reasons})" if reasons else ""
    columns = ", ".join(layer.columns) or "no judge"
    return f"layer:    {layer.name} ({columns}): {chunks}, {layer.rows} {layer.subject}{without}"


def odd_score_lines(stand: "Status") -> list[str]:
    """What is to be said of scores that are no numbers; nothing where all are."""
    total = sum(stand.captions.values())
    return [
        f"{count} of {total} scores in {column} are NaN or infinite: look at score.judges and engine.dtype"
        for column, count in stand.odd_scores.items()
    ]

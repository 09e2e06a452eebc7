"""`capfilt annotate`: add a judge, image judge or captioner to a finished run."""

from typing import Annotated

import typer

from capfilt.cli.terminal.errors import resumable
from capfilt.cli.terminal.options import Run, settings_option
from capfilt.core.formatting import seconds


def annotate(
    out: Run,
    judges: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            metavar="NAME|DIR",
            help="Score all texts with this judge, as in score.judges; TAG=NAME adds _TAG to its columns. Repeatable. "
            "Default: complete the layers of the run.",
            show_default=False,
        ),
    ] = None,
    captioner: Annotated[
        str,
        typer.Option(
            "--captioner",
            metavar="NAME|DIR",
            help="Write further captions with this captioner, as in caption.captioner; all judges score them. "
            "Default: none.",
            show_default=False,
        ),
    ] = "",
    image_judges: Annotated[
        list[str] | None,
        typer.Option(
            "--image-judge",
            metavar="NAME",
            help="Describe all images: quality, tags:MODEL, head:MODEL, embedding:MODEL. Repeatable. Default: none.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str,
        typer.Option(
            metavar="LAYER", help="Name of the layer. Default: the model's tag, else its name.", show_default=False
        ),
    ] = "",
    where: Annotated[
        str,
        typer.Option(
            "--where",
            metavar="SQL",
            help="Only images for which this is true, e.g. 'width >= 512'. Default: all.",
            show_default=False,
        ),
    ] = "",
    settings: Annotated[
        list[str] | None,
        settings_option("Change a setting of [engine], of [caption] for a captioner, or of [score] for a judge"),
    ] = None,
    drop: Annotated[
        str, typer.Option("--drop", metavar="LAYER", help="Remove a layer instead. Default: none.", show_default=False)
    ] = "",
) -> None:
    """Add a judge, image judge or captioner to a finished run.

    Reads the stored images, downloads nothing and rewrites no table. `query`, `select`, `report` and `export`
    see it as a layer. New captions join the current selection. After an interruption, re-run to resume.
    """
    from capfilt.cli.terminal import console
    from capfilt.commands.annotate import annotate as add
    from capfilt.commands.annotate import drop as remove
    from capfilt.core.errors import ConfigError

    if drop:
        if judges or captioner or image_judges or name or where or settings:
            raise ConfigError("--drop stands alone: it removes a layer and adds none")
        remove(out, drop)
        console.say(f"layer {drop} removed")
        return
    with resumable("annotated chunks are kept; re-run the same command to resume"), console.progress() as listener:
        done = add(
            out,
            judges or (),
            captioner,
            image_judges=image_judges or (),
            name=name,
            where=where,
            overrides=settings or (),
            listener=listener,
        )
    if not done.chunks:
        console.say("nothing to do: the layers have every chunk")
        return
    console.say(f"layers: {', '.join(done.layers)}; {done.chunks} chunks annotated in {seconds(done.seconds)}")
    console.say(f"columns: {', '.join(done.columns) or 'none'}")
    table = done.tables[0] if done.tables else "captions"
    shown = "url" if table == "images" else "text"
    new = "captioner" if captioner else done.columns[0]
    console.say(f'try:    capfilt query {out} "SELECT {shown}, {new} FROM {table} LIMIT 9"')

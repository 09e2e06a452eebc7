"""`capfilt models`, and two commands that try one on the spot: `capfilt caption`, `capfilt score`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from capfilt.cli.runs.run import warn_of_demo_models
from capfilt.cli.terminal.options import settings_option

Settings = Annotated[list[str] | None, settings_option("A setting as in a recipe, e.g. caption.prompt='a photo of'")]


def models() -> None:
    """List the captioners and judges that are known by name."""
    from capfilt.cli.terminal import console
    from capfilt.models.registry.catalog import CATALOG
    from capfilt.training.registry import SYSTEMS

    for role, title, last in (("captioner", "captioner", "prompt"), ("filter", "judge", "scores")):
        cards = [card for card in CATALOG.values() if card.role == role]
        rows = [
            (card.name, card.parameters, card.license, card.source, card.prompt or " ".join(card.columns))
            for card in cards
        ]
        console.table((title, "size", "license", "from", last), rows)
    systems = [(system.name, system.about, " ".join(system.roles)) for system in SYSTEMS.values()]
    console.table(("capfilt train", "learns", "used as"), systems)
    console.say()
    for line in (
        "here:   comes with capfilt, for the demo's drawn pictures only",
        "hub:    taken from Hugging Face's cache on this machine, else fetched",
        "others: a directory as transformers or open_clip saves it, owner/model@revision,",
        "        open_clip:ARCHITECTURE:TAG, python:MODULE:CLASS; a server that speaks",
        "        OpenAI's protocol can caption: http://HOST:8000/v1",
    ):
        console.say(line)


def caption(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Picture files.", show_default=False)],
    captioner: Annotated[
        str, typer.Option(metavar="NAME|DIR|URL", help="A name of `capfilt models`, a directory or a server.")
    ] = "demo-captioner",
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, max=100, help="Captions an image.")] = 3,
    settings: Settings = None,
) -> None:
    """Let a captioner describe pictures, here and now."""
    from capfilt.cli.terminal import console
    from capfilt.commands.try_models import caption_files
    from capfilt.pipelines.recipes.load import load_recipe

    chosen = (f"caption.captioner={json.dumps(captioner)}", f"caption.n={n}", "score.judges=[]")
    recipe = load_recipe("blip", (*(settings or ()), *chosen))
    warn_of_demo_models(recipe)
    rows = [
        (path.name if number == 0 else "", found["text"], found["logprob"], " ".join(found["flags"]))
        for path, captions in zip(images, caption_files(images, recipe), strict=True)
        for number, found in enumerate(captions)
    ]
    console.table(("image", "caption", "logprob", "flags"), rows)


def score(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture file.", show_default=False)],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="Texts to judge.", show_default=False)],
    judges: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            metavar="NAME|DIR",
            help="A name of `capfilt models` or a directory; TAG=NAME tells columns apart; may be given again. "
            "Default: demo-filter.",
            show_default=False,
        ),
    ] = None,
    settings: Settings = None,
) -> None:
    """Let judges score texts of a picture, here and now."""
    from capfilt.cli.terminal import console
    from capfilt.commands.try_models import score_texts
    from capfilt.pipelines.recipes.load import load_recipe

    chosen = (f"score.judges={json.dumps(judges or ['demo-filter'])}", "caption.n=0")
    recipe = load_recipe("blip", (*(settings or ()), *chosen))
    warn_of_demo_models(recipe)
    columns, scored = score_texts(image, texts, recipe)
    rows = [(found["text"], *(found[column] for column in columns)) for found in scored]
    console.table(("text", *columns), rows)

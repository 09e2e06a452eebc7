"""`capfilt models`, and commands to try one: `capfilt caption`, `capfilt score`, `capfilt ask`."""

from pathlib import Path
from typing import Annotated

import typer

from capfilt.cli.runs.run import warn_of_demo_models
from capfilt.cli.terminal.options import settings_option
from capfilt.core.serialization import setting

Settings = Annotated[
    list[str] | None, settings_option("Change a setting of the recipe, e.g. caption.prompt='a photo of'")
]


def models() -> None:
    """List known captioners and judges."""
    from capfilt.cli.terminal import console
    from capfilt.models.registry.catalog import cards
    from capfilt.models.systems.registry import SYSTEMS

    for found, title, last in ((cards("captioner"), "captioner", "prompt"), (cards("filter"), "judge", "scores")):
        rows = [
            (card.name, card.parameters, card.license, card.source, card.prompt or " ".join(card.columns))
            for card in found
        ]
        console.table((title, "size", "license", "from", last), rows)
    systems = [(system.name, system.about, " ".join(system.roles)) for system in SYSTEMS.values()]
    console.table(("capfilt train", "learns", "used as"), systems)
    console.say()
    for line in (
        "here:   ships with capfilt, for the demo's drawn images only",
        "        (so does demo-language, for model.language of llava, flamingo, qformer)",
        "hub:    from the local Hugging Face cache, else downloaded",
        "others: a directory saved by transformers or open_clip, owner/model@revision,",
        "        open_clip:ARCHITECTURE:TAG, python:MODULE:CLASS; captioners also a",
        "        server with an OpenAI-compatible API: http://HOST:8000/v1",
    ):
        console.say(line)


def caption(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Image files.", show_default=False)],
    captioner: Annotated[
        str,
        typer.Option(metavar="NAME|DIR|URL", help="A name listed by `capfilt models`, a directory or a server URL."),
    ] = "demo-captioner",
    n: Annotated[int, typer.Option("--n", metavar="N", min=1, max=100, help="Captions per image.")] = 3,
    settings: Settings = None,
) -> None:
    """Caption image files with one captioner."""
    from capfilt.cli.terminal import console
    from capfilt.commands.try_models import caption_files
    from capfilt.pipelines.recipes.load import load_recipe

    chosen = (setting("caption.captioner", captioner), f"caption.n={n}", "score.judges=[]")
    recipe = load_recipe("blip", (*(settings or ()), *chosen))
    warn_of_demo_models(recipe)
    rows = [
        (path.name if number == 0 else "", found["text"], found["logprob"], " ".join(found["flags"]))
        for path, captions in zip(images, caption_files(images, recipe), strict=True)
        for number, found in enumerate(captions)
    ]
    console.table(("image", "caption", "logprob", "flags"), rows)


def score(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file.", show_default=False)],
    texts: Annotated[list[str], typer.Argument(metavar="TEXT", help="Texts to score.", show_default=False)],
    judges: Annotated[
        list[str] | None,
        typer.Option(
            "--judge",
            metavar="NAME|DIR",
            help="A name listed by `capfilt models`, or a directory; TAG=NAME adds a tag to its columns. Repeatable. "
            "Default: demo-filter.",
            show_default=False,
        ),
    ] = None,
    settings: Settings = None,
) -> None:
    """Score texts for an image with one or more judges."""
    from capfilt.cli.terminal import console
    from capfilt.commands.try_models import score_texts
    from capfilt.pipelines.recipes.load import load_recipe

    chosen = (setting("score.judges", judges or ["demo-filter"]), "caption.n=0")
    recipe = load_recipe("blip", (*(settings or ()), *chosen))
    warn_of_demo_models(recipe)
    columns, scored = score_texts(image, texts, recipe)
    rows = [(found["text"], *(found[column] for column in columns)) for found in scored]
    console.table(("text", *columns), rows)


def ask(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="An image file.", show_default=False)],
    questions: Annotated[list[str], typer.Argument(metavar="QUESTION", help="Questions about it.", show_default=False)],
    model: Annotated[
        Path, typer.Option(metavar="DIR", help="A checkpoint of `capfilt train vqa`.", show_default=False)
    ],
) -> None:
    """Ask questions about an image.

    A checkpoint of `capfilt train vqa` answers them.
    """
    from capfilt.cli.terminal import console
    from capfilt.commands.try_models import answer_questions

    answers = answer_questions(image, questions, model)
    console.table(("question", "answer"), list(zip(questions, answers, strict=True)))

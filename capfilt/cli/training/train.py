"""`capfilt train` and `capfilt world`: train models, and generate images to train them on."""

from pathlib import Path
from typing import Annotated, Any

import typer

from capfilt.cli.terminal.errors import resumable
from capfilt.cli.terminal.options import old_name, settings_option
from capfilt.core.serialization import setting
from capfilt.models.systems.registry import SYSTEMS


def _option(what: str, default: str = "the recipe's", least: float | None = None) -> Any:
    return typer.Option(min=least, help=f"{what[0].upper()}{what[1:]}. Default: {default}.", show_default=False)


def _system(name: str) -> str:
    if name not in SYSTEMS:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(SYSTEMS)}.")
    return name


def train(
    task: Annotated[
        str,
        typer.Argument(
            parser=_system,
            metavar="SYSTEM",
            help="; ".join(f"{system.name} = {system.about}" for system in SYSTEMS.values()),
        ),
    ],
    data: Annotated[
        list[str],
        typer.Argument(help="Parquet with columns image and captions: files, folders, or the corpus/ of a run."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint.", show_default=False)],
    recipe: Annotated[
        str, typer.Option(metavar="NAME|FILE.toml", help="small, blip (the settings of the paper) or a TOML file.")
    ] = "small",
    start: Annotated[str | None, _option("checkpoint to start from", "none, from scratch")] = None,
    size: Annotated[str | None, _option("size of a new model, e.g. med-base; an unknown name lists them")] = None,
    steps: Annotated[int | None, _option("training steps", least=1)] = None,
    batch: Annotated[int | None, _option("images per step", least=2)] = None,
    rate: Annotated[float | None, _option("peak learning rate", least=0)] = None,
    itc: Annotated[float | None, _option("weight of ITC", "the task's", least=0)] = None,
    itm: Annotated[float | None, _option("weight of ITM", "the task's", least=0)] = None,
    lm: Annotated[float | None, _option("weight of LM", "the task's", least=0)] = None,
    workers: Annotated[
        int | None, _option("training processes, run by Ray Train if more than 1", "the recipe's", least=1)
    ] = None,
    seed: Annotated[int | None, _option("seed of weights, data order and negatives", least=0)] = None,
    half: Annotated[
        bool, typer.Option("--half", help="Store the weights as float16. Default: float32.", show_default=False)
    ] = False,
    settings: Annotated[list[str] | None, settings_option("Change a setting, e.g. objectives.queue=4096")] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart",
            help="Delete the training in the folder and start over. Default: resume it.",
            show_default=False,
        ),
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", hidden=True, help="Old name of --restart. Default: no.")] = False,
) -> None:
    """Train on image-text pairs; re-run to resume."""
    from capfilt.cli.terminal import console
    from capfilt.training.recipes import load_training
    from capfilt.training.train import Listener, Request
    from capfilt.training.train import train as run

    given = {
        "model.start": start,
        "model.size": size,
        "schedule.steps": steps,
        "schedule.batch": batch,
        "schedule.rate": rate,
        "objectives.itc": itc,
        "objectives.itm": itm,
        "objectives.lm": lm,
        "work.workers": workers,
        "work.seed": seed,
        "work.half": half or None,
    }
    shortcuts = [setting(key, value) for key, value in given.items() if value is not None]
    chosen = load_training(recipe, task, (*shortcuts, *(settings or ())))
    restart = old_name("--fresh", "--restart", fresh) or restart
    with resumable(), console.training() as listener:
        outcome = run(Request(task, tuple(data), out, chosen), Listener(console.say, listener), restart)
    if not outcome.steps_now:
        console.say(f"nothing to do: all {outcome.steps} steps are complete")
    console.say(f"checkpoint: {out}")


def world(
    out: Annotated[Path, typer.Argument(help="Parquet file to write.")],
    pairs: Annotated[int, typer.Option(min=1, help="Number of images.")] = 10_000,
    seed: Annotated[int, typer.Option(help="Seed of the images and texts.")] = 1,
    noisy: Annotated[
        bool,
        typer.Option(
            "--noisy", help="One web text per image, half of them wrong. Default: annotated images.", show_default=False
        ),
    ] = False,
) -> None:
    """Generate images of the demo's world, to train on."""
    from capfilt.demo.world.dataset import write_noisy, write_pairs

    (write_noisy if noisy else write_pairs)(out, pairs, seed)
    typer.echo(f"{pairs} images: {out}")

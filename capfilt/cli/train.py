"""`capfilt train` and `capfilt world`: make a captioner and a filter, and pictures to make them from."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from capfilt.models.training.loop import Progress


class TaskName(StrEnum):
    """What can be trained."""

    med = "med"
    captioner = "captioner"
    filter = "filter"


def train(
    task: Annotated[TaskName, typer.Argument(help="med = ITC + ITM + LM; captioner = LM; filter = ITC + ITM")],
    data: Annotated[str, typer.Argument(help="Parquet file or folder with columns image and captions (and wrong)")],
    out: Annotated[Path, typer.Option(help="directory the checkpoint is written to")],
    start: Annotated[str | None, typer.Option(help="checkpoint to go on from; without it, from scratch")] = None,
    size: Annotated[str, typer.Option(help="size of a new model: med-tiny, med-base, med-large")] = "med-tiny",
    steps: Annotated[int, typer.Option(min=1, help="training steps")] = 1000,
    batch: Annotated[int, typer.Option(min=2, help="pictures a step")] = 64,
    rate: Annotated[float, typer.Option(min=0, help="peak learning rate, after 10 % warm-up")] = 1e-3,
    itc: Annotated[float | None, typer.Option(min=0, help="weight of ITC; default: the task's")] = None,
    itm: Annotated[float | None, typer.Option(min=0, help="weight of ITM; default: the task's")] = None,
    lm: Annotated[float | None, typer.Option(min=0, help="weight of LM; default: the task's")] = None,
    seed: Annotated[int, typer.Option(help="seed of weights, order and negatives")] = 0,
    half: Annotated[bool, typer.Option("--half", help="store the weights as float16")] = False,
) -> None:
    """Train a MED on image-text pairs, in one process."""
    from capfilt.train import TASKS, Settings
    from capfilt.train import train as run

    settings = Settings(size=size, start=start, steps=steps, batch=batch, rate=rate, seed=seed, half=half)
    chosen = TASKS[task.value]
    weights = [
        own if given is None else given for own, given in ((chosen.itc, itc), (chosen.itm, itm), (chosen.lm, lm))
    ]
    run(data, out, replace(chosen, itc=weights[0], itm=weights[1], lm=weights[2]), settings, _say)
    typer.echo(f"checkpoint: {out}")


def world(
    out: Annotated[Path, typer.Argument(help="Parquet file to write")],
    pairs: Annotated[int, typer.Option(min=1, help="pictures")] = 10_000,
    seed: Annotated[int, typer.Option(help="seed of the pictures and their texts")] = 1,
) -> None:
    """Draw annotated pictures of the demo's world, to train on."""
    from capfilt.world.dataset import write_pairs

    write_pairs(out, pairs, seed)
    typer.echo(f"{pairs} pictures: {out}")


def _say(progress: "Progress") -> None:
    losses = "  ".join(f"{name} {value:.3f}" for name, value in progress.losses.items())
    left = f"{progress.seconds_left / 60:.0f} min left"
    typer.echo(f"step {progress.step}/{progress.steps}  {losses}  {progress.pairs_per_second:.0f} pairs/s  {left}")

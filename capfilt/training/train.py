"""`capfilt train`, one walk: recipe -> system -> data -> job -> loop -> checkpoint; and on again after a kill.

OUT holds the checkpoint, and OUT/training what a training leaves: recipe.toml, state.pt, metrics.jsonl, losses.svg and
TensorBoard's events. The same command resumes from state.pt bit by bit; after the last step it is a no-op.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capfilt.charts.loss_curves import HOME
from capfilt.core.config import EngineSettings
from capfilt.core.errors import ModelError
from capfilt.models.refusal import refused_in_a_line
from capfilt.models.systems.registry import SYSTEMS
from capfilt.models.training.system import Foundation
from capfilt.training.config import TrainRecipe, ask
from capfilt.training.data import all_texts, batches, human_alone, left_out, load_data, make_sampler
from capfilt.training.identity import RECIPE, STATE, identity, write_or_check

if TYPE_CHECKING:
    from capfilt.models.training.group import Group
    from capfilt.models.training.loop import Item, Trainer, TrainProgress
    from capfilt.models.training.system import Asked, ModelSettings, TrainJob


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for."""

    task: str  # a name of `systems.registry`
    data: tuple[str, ...]  # Parquet files or folders
    out: Path
    recipe: TrainRecipe


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears of a training."""

    say: Callable[[str], None] = lambda _: None
    log: "Callable[[TrainProgress], None]" = lambda _: None


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """What a training came to."""

    steps: int
    steps_now: int  # 0 = there was nothing to do


def train(request: Request, listener: Listener | None = None, fresh: bool = False) -> TrainOutcome:
    """Train, or resume an earlier training of the same; writes a checkpoint directory.

    Args:
        fresh: forget what an earlier training left.

    Raises:
        UserError: no such size, checkpoint, device or data; before any work.
        ChangedError: OUT holds a training of another recipe or other data.
    """
    listener, recipe, home = listener or Listener(), request.recipe, request.out / HOME
    system = SYSTEMS[request.task]
    asked = ask(system, recipe)
    try:
        with refused_in_a_line(recipe.model.start or recipe.model.vision, passes=(OSError,)):
            foundation = system.check(asked)
    except ModelError as error:
        raise _of_its_setting(asked.model, error) from error
    now = identity(system, request.data, recipe, foundation)
    if fresh:
        # The state first: without one an earlier recipe does not count, but a state alone would be resumed.
        for name in (STATE, RECIPE):
            (home / name).unlink(missing_ok=True)
    write_or_check(home, now)
    # Without Ray where one process does: starting it takes 30 to 60 s, and tests and notebooks train here.
    if recipe.work.workers == 1:
        return work(request, foundation, listener)
    from capfilt.pipelines.engine.ray_train import together  # here: alone there is no Ray

    one = partial(_as_one_of, request, foundation)
    outcome: TrainOutcome = together(one, _engine(recipe, asked.device), home, partial(_hear, listener))
    return outcome


def _of_its_setting(settings: "ModelSettings", error: ModelError) -> ModelError:
    """An error about a checkpoint, with the setting that names it in front."""
    for name in ("start", "vision", "text", "language"):
        value = getattr(settings, name)
        if value and value in str(error) and not str(error).startswith("model."):
            return ModelError(f"model.{name} = {value!r}: {error}")
    return error


def work(request: Request, foundation: Foundation, listener: Listener, group: "Group | None" = None) -> TrainOutcome:
    """Train as one worker of a group, or alone."""
    import torch

    from capfilt.models.training.group import Group
    from capfilt.models.training.state import load_state

    group = group or Group()
    recipe, system, state = request.recipe, SYSTEMS[request.task], request.out / HOME / STATE
    pairs = load_data(system, request.data, recipe, foundation.pixels)
    sampler = make_sampler(pairs, recipe)
    epoch = max(1, sampler.epoch // recipe.schedule.accumulate)
    # After the data and before the model: the order of draws is part of what makes a resume equal to the bit.
    torch.manual_seed(recipe.work.seed)
    asked = replace(ask(system, recipe), epoch=epoch)
    job = system.code().build(asked, all_texts(pairs), group)
    trainer = _trainer(job, asked, recipe, group)
    # After the model is built: a state holds what training changed, and random numbers are set last, so that building
    # draws none of them.
    if state.is_file():
        trainer.restore(load_state(state))
        sampler.go_to(trainer.position)
    first, steps = trainer.step, trainer.schedule.steps
    if first == steps:
        return TrainOutcome(steps, 0)
    for line in [
        *left_out(pairs),
        *human_alone(system, pairs),
        *sampler.about(),
        *([f"resuming at step {first}"] if first else []),
    ]:
        listener.say(line)
    items = batches(system, pairs, sampler, group, recipe)
    _run(trainer, job, items, request.out, listener, group.rank == 0)
    return TrainOutcome(steps, steps - first)


def _run(
    trainer: "Trainer", job: "TrainJob", items: "Iterator[Item]", out: Path, listener: Listener, lead: bool
) -> None:
    """Take the steps that are left; the first worker notes the metrics and writes checkpoint and state."""
    from capfilt.models.training.state import save_state
    from capfilt.training.metrics import Metrics

    metrics = Metrics(out / HOME, trainer.step) if lead else None

    def log(progress: "TrainProgress") -> None:
        if metrics:
            metrics.add(progress)
        listener.log(progress)

    def save(now: "Trainer") -> None:
        state = now.state()  # of all workers: each must ask, though one writes
        if lead:
            job.save(out)
            save_state(out / HOME / STATE, state)  # last: killed between the two, some steps are taken again

    trainer.run(items, log, save)
    if metrics:
        metrics.close()


def _trainer(job: "TrainJob", asked: "Asked", recipe: TrainRecipe, group: "Group") -> "Trainer":
    from capfilt.models.training.loop import StepSettings, Trainer
    from capfilt.models.training.settings import AdamW, Schedule

    how, best = recipe.schedule, recipe.optimizer
    own = how.model_dump(include={"rate", "warmup", "warmup_from", "shape", "decay", "min_ratio"})
    steps = how.steps or max(1, round(how.epochs * asked.epoch))
    return Trainer(
        job.task,
        Schedule(steps=steps, epoch=asked.epoch, **own),
        AdamW(**best.model_dump(exclude={"clip"})),
        StepSettings(
            accumulate=how.accumulate,
            clip=best.clip,
            bf16=asked.model.bf16,
            log_every=recipe.work.log_every,
            save_every=recipe.work.save_every,
        ),
        group,
        group.wrap(job.task),
    )


def _as_one_of(request: Request, foundation: Foundation, group: "Group", tell: Callable[[Any], None]) -> TrainOutcome:
    """Train as one worker of a group; the first one tells what a person hears."""
    return work(request, foundation, Listener(tell, tell) if group.rank == 0 else Listener(), group)


def _hear(listener: Listener, told: Any) -> None:
    if isinstance(told, str):
        listener.say(told)
    else:
        listener.log(told)


def _engine(recipe: TrainRecipe, device: str) -> EngineSettings:
    workers = recipe.work.workers
    gpus = 1.0 if device.startswith("cuda") else 0.0
    return EngineSettings(address=recipe.work.address, workers=workers, cpus=workers + 2, gpus=gpus)

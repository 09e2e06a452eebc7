"""Training, as a person asks for it: which task, on what, from where, for how long; and on again after a kill.

OUT holds the checkpoint, and OUT/training what a training leaves: recipe.toml, state.pt, metrics.jsonl, losses.svg and
TensorBoard's events. The same command again goes on from state.pt, to the bit; where it was done it does nothing.
"""

import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from capfilt.core.config import EngineSettings
from capfilt.core.errors import ChangedError, ConfigError
from capfilt.core.serialization import to_toml
from capfilt.core.storage import Folder, split_url
from capfilt.training.config import TrainRecipe, changed_training

if TYPE_CHECKING:
    from capfilt.models.training.group import Group
    from capfilt.models.training.loop import Item, Trainer, TrainProgress
    from capfilt.pipelines.training_data.pairs import TrainingPairs
    from capfilt.pipelines.training_data.sampler import Sampler
    from capfilt.training.tasks import Job

HOME: Final = "training"
RECIPE, STATE = "recipe.toml", "state.pt"
FREE: Final = {"work.save_every", "data.memory", "model.device"}
"""Settings that may change between a training and its resume."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for."""

    task: str
    data: tuple[str, ...]  # Parquet files or folders
    out: Path
    recipe: TrainRecipe


@dataclass(frozen=True, slots=True)
class Listener:
    """Who hears of a training."""

    say: Callable[[str], None] = lambda _: None
    log: "Callable[[TrainProgress], None]" = lambda _: None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training came to."""

    steps: int
    steps_now: int  # 0 = there was nothing to do


def train(request: Request, listener: Listener | None = None, fresh: bool = False) -> Outcome:
    """Train, or go on where an earlier training of the same stopped; writes a checkpoint directory.

    Args:
        fresh: forget what an earlier training left.

    Raises:
        UserError: no such size, checkpoint, device or data; before any work.
        ChangedError: OUT holds a training of another recipe or other data.
    """
    listener = listener or Listener()
    home = request.out / HOME
    identity = _identity(request)
    if fresh:
        for name in (STATE, RECIPE):
            (home / name).unlink(missing_ok=True)
    _write_or_check(home, identity)
    workers = request.recipe.work.workers
    if workers == 1:
        return work(request, listener)
    from capfilt.pipelines.engine.ray_train import together  # here: alone there is no Ray

    outcome: Outcome = together(partial(_as_one_of, request), _engine(request.recipe), home, partial(_hear, listener))
    return outcome


def _as_one_of(request: Request, group: "Group", tell: Callable[[Any], None]) -> Outcome:
    """Train as one worker of a group; the first one tells what a person hears."""
    return work(request, Listener(tell, tell) if group.rank == 0 else Listener(), group)


def _hear(listener: Listener, told: Any) -> None:
    if isinstance(told, str):
        listener.say(told)
    else:
        listener.log(told)


def _engine(recipe: TrainRecipe) -> EngineSettings:
    from capfilt.training.tasks import device

    workers = recipe.work.workers
    gpus = 1.0 if device(recipe).startswith("cuda") else 0.0
    return EngineSettings(address=recipe.work.address, workers=workers, cpus=workers + 2, gpus=gpus)


def work(request: Request, listener: Listener, group: "Group | None" = None) -> Outcome:
    """Train as one worker of a group, or alone."""
    import torch

    from capfilt.models.training.group import Group
    from capfilt.models.training.state import load_state, save_state
    from capfilt.training.metrics import Metrics
    from capfilt.training.tasks import make_job

    group = group or Group()
    recipe, home = request.recipe, request.out / HOME
    pairs = _load(request)
    sampler = _sampler(pairs, recipe)
    epoch = max(1, sampler.epoch // recipe.schedule.accumulate)
    torch.manual_seed(recipe.work.seed)
    job = make_job(request.task, recipe, pairs, epoch, group)
    trainer = _trainer(job, recipe, epoch, group)
    lead = group.rank == 0
    if (home / STATE).is_file():
        trainer.restore(load_state(home / STATE))
        sampler.go_to(trainer.position)
    first, steps = trainer.step, trainer.schedule.steps
    if first == steps:
        return Outcome(steps, 0)
    for line in [*_left_out(pairs), *sampler.about(), *([f"going on at step {first}"] if first else [])]:
        listener.say(line)
    metrics = Metrics(home, first) if lead else None

    def log(progress: "TrainProgress") -> None:
        if metrics:
            metrics.add(progress)
        listener.log(progress)

    def save(now: "Trainer") -> None:
        state = now.state()  # of all workers
        if lead:
            job.save(request.out)
            save_state(home / STATE, state)

    trainer.run(_items(job, pairs, sampler, group), log, save)
    if metrics:
        metrics.close()
    return Outcome(steps, steps - first)


def _load(request: Request) -> "TrainingPairs":
    from capfilt.models.pixels import PixelSpec
    from capfilt.pipelines.training_data.pairs import Wanted, load_pairs
    from capfilt.training.tasks import image_size

    settings = request.recipe.data
    spec = PixelSpec(image_size(request.task, request.recipe), "squash")
    pairs = load_pairs(
        request.data,
        Wanted(
            column="questions" if request.task == "vqa" else "captions",
            sources=settings.sources,
            score=settings.score,
            pixels=spec,
            memory=settings.memory,
        ),
    )
    if len(pairs) < request.recipe.schedule.batch:
        raise ConfigError(
            f"schedule.batch = {request.recipe.schedule.batch}: {' '.join(request.data)} has only {len(pairs)} pictures"
        )
    return pairs


def _sampler(pairs: "TrainingPairs", recipe: TrainRecipe) -> "Sampler":
    from capfilt.pipelines.training_data.sampler import SOURCES, Sampler, Sampling

    settings = recipe.data
    for source, share in settings.share.items():
        if share and not pairs.texts.count(SOURCES.index(source)):
            raise ConfigError(f"data.share: no text is of source {source}")
    sampling = Sampling(
        share=settings.share, temperature=settings.temperature, window=settings.window, marked=settings.marked
    )
    return Sampler(pairs.texts, pairs.wrong_starts, sampling, recipe.schedule.batch, recipe.work.seed)


def _trainer(job: "Job", recipe: TrainRecipe, epoch: int, group: "Group") -> "Trainer":
    from capfilt.models.training.loop import StepSettings, Trainer
    from capfilt.models.training.schedule import AdamW, Schedule

    how, best = recipe.schedule, recipe.optimizer
    own = how.model_dump(include={"rate", "warmup", "warmup_from", "shape", "decay", "min_ratio"})
    steps = how.steps or max(1, round(how.epochs * epoch))
    return Trainer(
        job.task,
        Schedule(steps=steps, epoch=epoch, **own),
        AdamW(**best.model_dump(exclude={"clip"})),
        StepSettings(
            accumulate=how.accumulate,
            clip=best.clip,
            bf16=recipe.model.bf16,
            log_every=recipe.work.log_every,
            save_every=recipe.work.save_every,
        ),
        group,
        group.wrap(job.task),
    )


def _items(job: "Job", pairs: "TrainingPairs", sampler: "Sampler", group: "Group") -> "Iterator[Item]":
    """Batches with this worker's pixels; where these are decoded now, one batch ahead of the step."""
    part = group.part(sampler.size)
    draws = iter(sampler)

    def next_item() -> "Item":
        draw = next(draws)
        return job.batch(pairs, draw, pairs.pixels(draw.pictures[part])), draw.position

    if pairs.held is not None:
        while True:
            yield next_item()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next_item)
        while True:
            item, coming = coming.result(), pool.submit(next_item)
            yield item


def _left_out(pairs: "TrainingPairs") -> list[str]:
    return [f"left out: {count} pictures, {reason}" for reason, count in sorted(pairs.left_out.items())]


def _identity(request: Request) -> dict[str, Any]:
    """What must be the same when a training goes on, and is checked before any work."""
    from capfilt.models.formats.checkpoint import digest
    from capfilt.models.med.config import SIZES
    from capfilt.training.tasks import check_job

    files, settings = check_job(request.task, request.recipe), request.recipe.model
    return {
        "task": request.task,
        "data": [{"file": name, "bytes": size} for location in request.data for name, size in _files(location)],
        "checkpoints": digest(files) if files else "",
        "shape": {} if files else SIZES[settings.size].to_dict(),
        "recipe": request.recipe.model_dump(mode="json"),
    }


def _files(location: str) -> list[tuple[str, int]]:
    """Names and sizes of the files of a place, without reading them."""
    from pyarrow import fs

    filesystem, path = split_url(location)
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.File:
        return [(info.base_name, info.size)]
    folder = Folder(filesystem, path, location)
    return [(name, filesystem.get_file_info(folder.full(name)).size) for name in folder.names("", ".parquet")]


def _write_or_check(home: Path, identity: dict[str, Any]) -> None:
    from capfilt.models.med.config import MEDConfig

    path = home / RECIPE
    if not (path.is_file() and (home / STATE).is_file()):  # without a state nothing was learned that could get lost
        Folder.at(home).write(RECIPE, to_toml(identity).encode())
        return
    old = tomllib.loads(path.read_text(encoding="utf-8"))
    old["shape"] = MEDConfig.from_dict(old["shape"]).to_dict() if old.get("shape") else {}
    change = changed_training(old["recipe"], identity["recipe"], FREE) or next(
        (f"{key} changed" for key in ("task", "data", "checkpoints", "shape") if old.get(key, {}) != identity[key]), ""
    )
    if change:
        raise ChangedError(f"{home.parent} holds another training: {change}; use another --out, or --restart")

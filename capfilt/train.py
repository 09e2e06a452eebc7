"""Training, as a person asks for it: which task, on what, from where, for how long."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from capfilt.errors import ConfigError

if TYPE_CHECKING:
    from capfilt.models.med.model import MED
    from capfilt.models.tokenizer import Tokenizer
    from capfilt.models.training.loop import Progress
    from capfilt.pipelines.pairs import Pairs


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is trained: weights of the three objectives, texts by source, roles the result may be used in."""

    itc: float
    itm: float
    lm: float
    sources: tuple[str, ...]
    roles: tuple[str, ...]
    words: float = 0  # weight of ITM word by word
    marked: int  # texts marked as wrong that go along with every picture


TASKS: Final = {
    "med": Task(itc=1, itm=1, lm=1, sources=("web", "synthetic", "human"), roles=("captioner", "filter"), marked=1),
    "captioner": Task(itc=0, itm=0, lm=1, sources=("human",), roles=("captioner",), marked=0),
    "filter": Task(itc=1, itm=1, lm=0, words=1, sources=("web", "human"), roles=("filter",), marked=1),
}
"""Pretraining as in BLIP section 3.2; captioner and filter are tuned apart, as in section 3.3."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How it is trained."""

    size: str = "med-tiny"
    start: str | None = None  # a checkpoint to go on from; None = from scratch, at `size`
    steps: int = 1000
    batch: int = 64
    rate: float = 1e-3
    seed: int = 0
    half: bool = False  # store float16 weights
    save_every: int = 500


def train(data: str, out: Path, task: Task, settings: Settings, on_log: "Callable[[Progress], None]") -> None:
    """Train and write a checkpoint directory; a checkpoint is also written every `save_every` steps.

    Raises:
        UserError: no such size, start or data; before any work.
    """
    import torch

    from capfilt.models.pixels import PixelSpec
    from capfilt.models.training import loop
    from capfilt.models.training.med_task import MEDTask, Weights
    from capfilt.models.weights import save_med
    from capfilt.pipelines.pairs import draw_batches, load_pairs

    side = _image_size(settings)
    pairs = load_pairs(data, PixelSpec(side, "squash"), task.sources)
    if len(pairs) < settings.batch:
        raise ConfigError(f"--batch {settings.batch}: {data} has only {len(pairs)} pictures")
    torch.manual_seed(settings.seed)
    model, tokenizer = _model(settings, pairs, task)
    dtype = torch.float16 if settings.half else torch.float32
    loop.train(
        MEDTask(model, tokenizer, Weights(task.itc, task.itm, task.lm, task.words), seed=settings.seed),
        draw_batches(pairs, settings.batch, task.marked, settings.seed),
        loop.Schedule(steps=settings.steps, rate=settings.rate, save_every=settings.save_every),
        on_log,
        lambda _: save_med(out, model, tokenizer, task.roles, dtype),
    )


def _image_size(settings: Settings) -> int:
    from capfilt.models.checkpoint import describe
    from capfilt.models.med.config import SIZES
    from capfilt.models.registry import locate

    if settings.start:
        return describe(locate(settings.start)).config.image_size
    if settings.size not in SIZES:
        raise ConfigError(f"--size {settings.size!r} is not known; there are: {', '.join(SIZES)}")
    return SIZES[settings.size].image_size


def _model(settings: Settings, pairs: "Pairs", task: Task) -> "tuple[MED, Tokenizer]":
    """The checkpoint to go on from, or a new MED with a tokenizer of the words of its texts."""
    from capfilt.models.checkpoint import describe
    from capfilt.models.med.config import SIZES
    from capfilt.models.med.model import MED
    from capfilt.models.registry import locate
    from capfilt.models.tokenizer import Tokenizer
    from capfilt.models.weights import load_med

    if settings.start:
        folder = locate(settings.start)
        model, tokenizer = load_med(folder)
        if "filter" in task.roles and "filter" not in describe(folder).roles:
            model.text.start_encoder_from_decoder()
        return model, tokenizer
    words = (text for texts in (*pairs.texts, *pairs.wrong) for text in texts)
    tokenizer = Tokenizer.from_words(words)
    return MED(replace(SIZES[settings.size], vocab_size=len(tokenizer))), tokenizer

"""What `capfilt train` can train: one line a system. The command's choices and help, the recipe's sections, the checks
and `capfilt models` read this table; nothing else names a system.

A system's module has two functions, `check` and `build`, as `SystemModule` says. This file loads neither torch nor any
of them, so that `capfilt train --help` stays quick.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, cast

if TYPE_CHECKING:
    import torch

    from capfilt.models.training.batch import Batch, QuestionBatch
    from capfilt.models.training.group import Group
    from capfilt.pipelines.training_data.pairs import TrainingPairs
    from capfilt.pipelines.training_data.pixel_store import Pixels
    from capfilt.pipelines.training_data.sampler import Draw
    from capfilt.training.config import TrainRecipe


@dataclass(frozen=True, slots=True)
class Foundation:
    """What a training stands on; known before any work."""

    image_size: int  # pixels of a side
    files: tuple[Path, ...]  # of the checkpoints it starts from


class TrainJob(Protocol):
    """A model in training: its objectives, its batches, and the checkpoint it leaves."""

    @property
    def task(self) -> "torch.nn.Module":
        """A `models.training.loop.Task`."""
        ...

    def batch(self, pairs: "TrainingPairs", draw: "Draw", images: "Pixels") -> "Batch | QuestionBatch":
        """What the task takes: all texts of a draw, and the pixels of this worker's part."""
        ...

    def save(self, folder: Path) -> None:
        """Write the checkpoint as it is now."""
        ...


class SystemModule(Protocol):
    """The code of a system."""

    def check(self, recipe: "TrainRecipe") -> Foundation:
        """Make sure, before any work, that there is what the system needs.

        Raises:
            UserError: no such size, checkpoint or device; names the setting.
        """
        ...

    def build(
        self, recipe: "TrainRecipe", roles: tuple[str, ...], pairs: "TrainingPairs", epoch: int, group: "Group"
    ) -> TrainJob:
        """The model and its objectives; `epoch` is in steps."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A system that can be trained."""

    name: str
    about: str  # a few words for the help
    module: str
    roles: tuple[str, ...] = ()  # what its checkpoint is used for in a run
    column: Literal["captions", "questions"] = "captions"  # of the data that it reads
    defaults: Mapping[str, Mapping[str, Any]]  # its settings, before those of a recipe

    def code(self) -> SystemModule:
        """Its module, imported now."""
        return cast(SystemModule, importlib.import_module(self.module))


_SYSTEMS: Final = (
    System(
        name="med",
        about="ITC + ITM + LM",  # BLIP, section 3.2
        module="capfilt.training.med",
        roles=("captioner", "filter"),
        defaults={"objectives": {"itc": 1.0, "itm": 1.0, "lm": 1.0}},
    ),
    System(
        name="captioner",
        about="LM",  # BLIP, section 3.3: captioner and filter are tuned apart
        module="capfilt.training.med",
        roles=("captioner",),
        defaults={"objectives": {"lm": 1.0}, "data": {"sources": ["human"]}},
    ),
    System(
        name="filter",
        about="ITC + ITM",
        module="capfilt.training.med",
        roles=("filter",),
        defaults={"objectives": {"itc": 1.0, "itm": 1.0}, "data": {"sources": ["web", "human"]}},
    ),
    System(
        name="vqa",
        about="answers",  # BLIP, section 5.4
        module="capfilt.training.vqa",
        column="questions",
        defaults={"data": {"sources": ["human"]}},
    ),
    System(
        name="qformer",
        about="BLIP-2",  # BLIP-2, section 3
        module="capfilt.training.qformer",
        roles=("captioner",),
        defaults={"objectives": {"itc": 1.0, "itm": 1.0, "lm": 1.0, "max_tokens": 32}},
    ),
)

SYSTEMS: Final = {system.name: system for system in _SYSTEMS}

"""What a system that can be trained is. Free of torch, so that commands and recipes can ask a system about itself.

A system lives in `models/systems/NAME/`, with the same file names each:

| file | what |
|---|---|
| `system.py` | its settings, its lines for the registry and its `check`; free of torch |
| `build.py` | `build`: from what is asked to a task, and how its checkpoint is saved |
| `task.py` | one training step: a batch in, losses out |

Words: `Asked` is what a recipe asks of a system, `Foundation` what `check` finds before any work, `TrainJob` what
`build` makes.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

from capfilt.models.pixels import PixelSpec
from capfilt.models.training.settings import setting

if TYPE_CHECKING:
    import torch

    from capfilt.models.training.group import Group
    from capfilt.models.training.task import Task

Kind = TypeVar("Kind")

Reads = Literal["captions", "regions", "questions", "talks", "images"]
"""The column of the data that a system reads; "regions" = captions with their boxes, "images" = no text at all,
"talks" = questions that build on each other, of a table of their own (`data.talks`) or the column `questions`."""


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """The model to train."""

    size: str = setting("med-tiny", "size of a new model, e.g. med-tiny, med-tiny-patch, med-base, dual-tiny")
    start: str = setting("", "checkpoint to start from; empty = a new model")
    vision: str = setting(
        "", "checkpoint whose image encoder a new model starts from, or timm:NAME; empty = from scratch"
    )
    features: Literal["trained", "frozen"] = setting(
        "trained", "frozen = the image encoder timm:NAME stays as it is; its features are computed once per image"
    )
    text: str = setting("", "folder of a BERT, whose words and weights a new text side starts from; empty = none")
    language: str = setting("", "language model: demo-language, a directory or a name of the hub; empty = none")
    max_unknown: float = setting(0.5, "share of the texts that the checkpoint's vocabulary may not know", ge=0, le=1)
    image_size: int = setting(0, "pixels per side; 0 = that of the size or checkpoint", ge=0)
    device: str = setting("auto", "torch device; auto = cuda, then mps, then cpu")
    bf16: bool = setting(False, "compute in bfloat16; weights and optimizer state stay float32")
    checkpointing: bool = setting(False, "recompute activations in the backward pass: less memory, more time")
    compile: bool = setting(False, "torch.compile the image encoder; pays off on GPUs in long runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a recipe asks of a system, in plain values."""

    system: "System"
    model: ModelSettings
    own: tuple[object, ...] = ()  # its own sections, an instance of each dataclass of `System.sections`
    device: str = "cpu"  # where it is trained, no longer "auto"
    seed: int = 0
    half: bool = False  # store the weights as float16
    batch: int = 64  # pairs of all workers together
    augments: bool = False  # the same image looks different each time
    epoch: int = 1  # in steps; known when the data is read

    def section(self, kind: type[Kind]) -> Kind:
        """Its own section of a kind."""
        (found,) = (section for section in self.own if isinstance(section, kind))
        return found

    @property
    def stored_dtype(self) -> "torch.dtype":
        """What weights are stored as."""
        import torch

        return torch.float16 if self.half else torch.float32


@dataclass(frozen=True, slots=True)
class Foundation:
    """What a training stands on; known before any work."""

    image_size: int  # pixels of a side; of the longer one at most where `shape_kept`
    files: tuple[Path, ...]  # of the checkpoints it starts from
    shape: Mapping[str, Any] = field(default_factory=dict)  # of a new model
    shape_kept: bool = False  # images are not squashed to a square

    @property
    def pixels(self) -> PixelSpec:
        """The pixels that it is trained on."""
        return PixelSpec(self.image_size, "fit" if self.shape_kept else "squash")


@dataclass(frozen=True, slots=True)
class TrainJob:
    """A model in training, and how its checkpoint is written as it is now."""

    task: "Task"
    save: Callable[[Path], None]


class SystemCode(Protocol):
    """`build.py` of a system."""

    def build(self, asked: Asked, texts: Iterable[str], group: "Group") -> TrainJob:
        """The model and its objectives; `texts` are all of the data, for a vocabulary."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A system that can be trained: one line of `systems.registry`."""

    name: str
    about: str  # a few words for the help
    example: str = ""  # what follows `capfilt train NAME DATA --out DIR`, where something must
    package: str  # its folder in `models/systems/`
    check: Callable[[Asked], Foundation]
    """Makes sure, before any work, that there is what the system needs; raises a `UserError` that names the setting."""
    reads: Reads = "captions"
    roles: tuple[str, ...] = ()  # what its checkpoint is used for in a run
    sections: Mapping[str, type] = field(default_factory=dict)  # its own sections of a recipe, as dataclasses
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # its settings, before those of a recipe

    def code(self) -> SystemCode:
        """Its `build.py`, imported now."""
        return cast(SystemCode, importlib.import_module(f"capfilt.models.systems.{self.package}.build"))

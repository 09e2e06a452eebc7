"""Every setting of `capfilt train`: its name, type, default and meaning.

What all systems have in common stands here. The section `model` and each system's own sections are dataclasses of
`models/`, which knows no pydantic.
"""

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, ClassVar, Literal, TypeVar, get_type_hints

from pydantic import Field, field_validator, model_validator

from capfilt.core.config import Section
from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.runtime import Placement
from capfilt.models.systems.registry import SYSTEMS
from capfilt.models.training.settings import AdamW, Schedule
from capfilt.models.training.system import Asked, ModelSettings, System

_ADAMW, _SCHEDULE = AdamW(), Schedule(steps=0)

Made = TypeVar("Made", bound=Section)

Source = Literal["web", "synthetic", "human"]


class DataSettings(Section):
    """Which images and texts to train on, and how they are sampled."""

    sources: tuple[Source, ...] = Field(("web", "synthetic", "human"), description="sources of the texts to train on")
    talks: str = Field("", description="talks to learn from, joined by uid: those of export --instruct; empty = none")
    share: dict[str, float] = Field(
        {}, description="share of each source in a batch; empty = every image is equally likely"
    )
    score: str = Field("", description="caption score that weights the choice of a text, e.g. itm; empty = none")
    temperature: float = Field(
        0.0, ge=0, description="choose an image's text by softmax(score / temperature); 0 = uniformly"
    )
    unit: Literal["image", "text"] = Field(
        "image", description="what an epoch shows once: every image with one of its texts, or every text (BLIP)"
    )
    marked: int = Field(0, ge=0, description="texts marked as wrong to add per image, as ITM negatives")
    window: int = Field(0, ge=0, description="images per shuffle window; 0 = shuffle all at once")
    crop: float = Field(
        0.0,
        ge=0,
        le=1,
        description="smallest share of an image that a random crop shows (BLIP: 0.2, 0.5); 0 = off",
    )
    flip: bool = Field(False, description="mirror half of the images, but none whose texts say left or right")
    changes: int = Field(0, ge=0, description="random changes of an image, each half of the time (BLIP: 2)")
    memory: int = Field(
        4_000_000_000, ge=0, description="bytes of decoded images kept in memory; the rest is decoded every time"
    )

    @field_validator("share")
    @classmethod
    def _is_a_share(cls, value: dict[str, float]) -> dict[str, float]:
        if value and (min(value.values()) < 0 or not sum(value.values())):
            raise ValueError("shares must not be negative, nor all 0")
        return value

    @model_validator(mode="after")
    def _fits(self) -> "DataSettings":
        if self.temperature and self.unit == "text":
            raise ValueError("temperature chooses among an image's texts, and needs unit = image")
        if self.temperature and not self.score:
            raise ValueError("temperature needs score")
        if left := sorted(set(self.share) - set(self.sources)):
            raise ValueError(f"share names {left[0]}, which is not in sources")
        return self


class OptimizerSettings(Section):
    """AdamW."""

    weight_decay: float = Field(_ADAMW.weight_decay, ge=0, description="weight decay, multiplied by the learning rate")
    decayed: Literal["matrices", "all"] = Field(
        _ADAMW.decayed, description="parameters that decay; all = as in BLIP's code"
    )
    beta1: float = Field(_ADAMW.beta1, ge=0, lt=1, description="decay rate of the mean of gradients")
    beta2: float = Field(_ADAMW.beta2, ge=0, lt=1, description="decay rate of the mean of squared gradients")
    clip: float = Field(1.0, ge=0, description="maximum gradient norm; 0 = no clipping")


class ScheduleSettings(Section):
    """Length of the training, batch size and learning rate."""

    steps: int = Field(1000, ge=0, description="training steps; 0 = use epochs")
    epochs: float = Field(0.0, ge=0, description="passes over the images, if steps = 0")
    batch: int = Field(64, ge=2, description="images per batch, over all workers")
    accumulate: int = Field(1, ge=1, description="batches per step; ITC contrasts within one batch")
    rate: float = Field(_SCHEDULE.rate, gt=0, description="peak learning rate")
    warmup: float = Field(_SCHEDULE.warmup, ge=0, description="warm-up steps; below 1 = share of all steps")
    warmup_from: float = Field(
        _SCHEDULE.warmup_from, ge=0, le=1, description="learning rate at the start, as a share of the peak"
    )
    shape: Literal["cosine", "epochs"] = Field(_SCHEDULE.shape, description="decay: cosine, or a factor per epoch")
    decay: float = Field(_SCHEDULE.decay, gt=0, le=1, description="factor per epoch, if shape = epochs")
    min_ratio: float = Field(
        _SCHEDULE.min_ratio, ge=0, le=1, description="learning rate at the end, as a share of the peak"
    )

    @model_validator(mode="after")
    def _ends(self) -> "ScheduleSettings":
        if not self.steps and not self.epochs:
            raise ValueError("steps or epochs must be over 0")
        return self


class WorkSettings(Section):
    """Seed, processes, logs and checkpoints."""

    seed: int = Field(0, ge=0, description="seed of weights, data order and negatives")
    workers: int = Field(1, ge=1, description="training processes; more than 1 = run by Ray Train")
    address: str = Field(
        "local", description="Ray: local = start one for the training; auto, HOST:PORT = join a cluster"
    )
    log_every: int = Field(50, ge=1, description="steps between log lines")
    save_every: int = Field(500, ge=1, description="steps between states to resume from")
    half: bool = Field(False, description="store the weights as float16")


def _section(kind: type) -> type[Section]:
    """A dataclass of `models/` as a section of a recipe: its fields have their descriptions and bounds with them."""
    hints = get_type_hints(kind)
    found: dict[str, Any] = {one.name: (hints[one.name], Field(one.default, **one.metadata)) for one in fields(kind)}

    def fits(section: Section) -> Section:
        kind(**section.model_dump())
        return section

    return _subclass(Section, kind.__name__, kind.__doc__, found, fits=model_validator(mode="after")(fits))


def _subclass(
    base: type[Made], name: str, doc: str | None, fields: Mapping[str, tuple[Any, Any]], **own: Any
) -> type[Made]:
    """A section with further fields, each with its type and its default."""
    defaults = {key: default for key, (_, default) in fields.items()}
    types = {key: kind for key, (kind, _) in fields.items()}
    return type(name, (base,), {"__doc__": doc, "__module__": __name__, "__annotations__": types, **defaults, **own})


class TrainRecipe(Section):
    """What the recipes of all systems have in common; `recipe_type` adds what is theirs."""

    systems: ClassVar[tuple[str, ...]] = ()

    name: str = Field("small", description="name of the recipe")
    about: str = Field("", description="one-line description")
    model: Any = _section(ModelSettings)()
    data: DataSettings = DataSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    work: WorkSettings = WorkSettings()

    @model_validator(mode="after")
    def _fits(self) -> "TrainRecipe":
        if self.schedule.batch % self.work.workers:
            raise ValueError(
                f"schedule.batch = {self.schedule.batch} is not a multiple of work.workers = {self.work.workers}"
            )
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # Classes that are made cannot be found by name; Ray Train sends a recipe to its workers.
        return _remade, (self.systems, self.model_dump())


def _remade(systems: tuple[str, ...], settings: dict[str, Any]) -> TrainRecipe:
    return recipe_type(*systems).model_validate(settings)


@cache
def recipe_type(*names: str) -> type[TrainRecipe]:
    """The recipe of systems, with the sections that are theirs; of all systems without a name."""
    kinds = {section: kind for name in names or SYSTEMS for section, kind in SYSTEMS[name].sections.items()}
    made = {name: _section(kind) for name, kind in {"model": ModelSettings, **kinds}.items()}
    sections: dict[str, Any] = {name: (kind, kind()) for name, kind in made.items()}
    return _subclass(TrainRecipe, "TrainRecipe", "All settings of a training.", sections, systems=names)


def ask(system: System, recipe: TrainRecipe) -> Asked:
    """What a recipe asks of a system.

    Raises:
        ConfigError: this machine has no such device.
    """
    given = recipe.model_dump()
    settings = ModelSettings(**given["model"])
    try:
        device = Placement(device=settings.device).resolve()[0]
    except ModelError as error:
        raise ConfigError(f"model.device = {settings.device!r}: this device is not available") from error
    return Asked(
        system=system,
        model=settings,
        own=tuple(kind(**given[name]) for name, kind in system.sections.items()),
        device=device,
        seed=recipe.work.seed,
        half=recipe.work.half,
        batch=recipe.schedule.batch,
        augments=bool(recipe.data.crop or recipe.data.flip or recipe.data.changes),
    )

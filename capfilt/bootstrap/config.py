"""Recipes of `capfilt bootstrap`: the data, and the settings of each command."""

from typing import Final

from pydantic import Field, model_validator

from capfilt.core.config import Section
from capfilt.pipelines.recipes.load import RECIPES, override, read_settings, validate

FOLDER: Final = RECIPES / "bootstrap"


class BootstrapData(Section):
    """Where pairs come from; paths are relative to the working directory."""

    web: tuple[str, ...] = Field((), description="noisy pairs: any INPUT of `capfilt run`")
    human: tuple[str, ...] = Field((), description="human-written pairs: DATA of `capfilt train`")
    validation: tuple[str, ...] = Field(
        (),
        description="held-out human-written pairs that decide when to stop and which round is best: DATA of `capfilt "
        "evaluate`; empty = test, whose scores of the best round are then too good",
    )
    test: tuple[str, ...] = Field((), description="held-out human-written pairs that are reported, likewise")

    @model_validator(mode="after")
    def _are_there(self) -> "BootstrapData":
        for name in ("web", "human", "test"):
            if not getattr(self, name):
                raise ValueError(f"data.{name} must not be empty")
        return self


class CommandSettings(Section):
    """Settings of one command."""

    recipe: str = Field("small", description="recipe of the command: a name or a TOML file")
    set: tuple[str, ...] = Field((), description="changes to that recipe, as for --set")


class Ensemble(CommandSettings):
    """How captioners or filters are trained."""

    count: int = Field(1, ge=1, description="models to train, each with its own seed")


class FilterEnsemble(Ensemble):
    """How filters are trained and vote."""

    votes: int = Field(0, ge=0, description="minimum votes to keep a text; 0 = a majority")


class ClipSettings(CommandSettings):
    """A CLIP that is trained in each round, on what the round before kept and on human pairs, and votes too."""

    train: bool = Field(False, description="train a CLIP beside the filters; a text then needs the votes of a majority")
    threshold: float = Field(0.2, ge=-1, le=1, description="minimum cosine for its vote")


class RunSettings(CommandSettings):
    """How web pairs are captioned, scored and selected."""

    recipe: str = Field("blip", description="recipe of the run: a name or a TOML file")


class StopSettings(Section):
    """When to stop before the last round."""

    fall: float = Field(
        0.02, ge=0, description="stop if held-out R@1 (mean of TR and IR) falls this far below its best"
    )
    diversity: float = Field(
        0.5,
        ge=0,
        le=1,
        description="stop if distinct-2 or vocabulary of sampled captions falls below this share of human captions'",
    )


class BootstrapRecipe(Section):
    """All settings of a bootstrap."""

    name: str = Field("small", description="name of the recipe")
    about: str = Field("", description="one-line description")
    data: BootstrapData
    pretrain: CommandSettings = CommandSettings()
    captioner: Ensemble = Ensemble()
    filter: FilterEnsemble = FilterEnsemble()
    clip: ClipSettings = ClipSettings()
    run: RunSettings = RunSettings()
    stop: StopSettings = StopSettings()

    @model_validator(mode="after")
    def _votes_can_be_reached(self) -> "BootstrapRecipe":
        voters = self.filter.count + self.clip.train
        if self.filter.votes > voters:
            raise ValueError(f"filter.votes = {self.filter.votes} must not exceed {voters}, the number of voters")
        return self


def load_bootstrap(name_or_path: str, overrides: tuple[str, ...] = ()) -> BootstrapRecipe:
    """Read a recipe, and apply `section.key=value` overrides.

    Raises:
        ConfigError: an unknown recipe, key or impossible value; one line that names the setting.
    """
    settings = read_settings(name_or_path, FOLDER)
    settings.setdefault("data", {})
    for change in overrides:
        override(settings, change)
    return validate(BootstrapRecipe, settings, name_or_path)

"""Recipes of `capfilt bootstrap`: what data, and how each of its commands is called."""

from typing import Final

from pydantic import Field, model_validator

from capfilt.core.config import Section
from capfilt.pipelines.recipes.load import RECIPES, override, read_settings, validate

FOLDER: Final = RECIPES / "bootstrap"


class BootstrapData(Section):
    """Where pairs come from, as the commands take them; relative to where they are typed."""

    web: tuple[str, ...] = Field((), description="noisy pairs: any INPUT of `capfilt run`")
    human: tuple[str, ...] = Field((), description="pairs that people made: DATA of `capfilt train`")
    test: tuple[str, ...] = Field((), description="held-out pairs that people made: DATA of `capfilt evaluate`")

    @model_validator(mode="after")
    def _are_there(self) -> "BootstrapData":
        for name in ("web", "human", "test"):
            if not getattr(self, name):
                raise ValueError(f"data.{name} must name some data")
        return self


class CommandSettings(Section):
    """How a command is called."""

    recipe: str = Field("small", description="its recipe, by name or file")
    set: tuple[str, ...] = Field((), description="settings of that recipe that change, as for --set")


class Ensemble(CommandSettings):
    """How captioners, or filters, are trained."""

    count: int = Field(1, ge=1, description="how many work together, each of a seed of its own")


class FilterEnsemble(Ensemble):
    """How filters are trained, and decide."""

    votes: int = Field(0, ge=0, description="votes a kept text has at least; 0 = more than half")

    @model_validator(mode="after")
    def _can_be_reached(self) -> "FilterEnsemble":
        if self.votes > self.count:
            raise ValueError("votes is more than there are filters")
        return self


class RunSettings(CommandSettings):
    """How the web's pairs are captioned, judged and selected."""

    recipe: str = Field("blip", description="its recipe, by name or file")


class StopSettings(Section):
    """When the loop stops by itself."""

    fall: float = Field(0.02, ge=0, description="how far held-out R@1 (mean of TR and IR) may fall below its best")
    diversity: float = Field(
        0.5, ge=0, le=1, description="least distinct-2 and vocabulary of drawn captions, as a share of people's"
    )


class BootstrapRecipe(Section):
    """All settings of a bootstrap."""

    name: str = Field("small", description="what the recipe is called")
    about: str = Field("", description="one line for people")
    data: BootstrapData
    pretrain: CommandSettings = CommandSettings()
    captioner: Ensemble = Ensemble()
    filter: FilterEnsemble = FilterEnsemble()
    run: RunSettings = RunSettings()
    stop: StopSettings = StopSettings()


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

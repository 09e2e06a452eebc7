"""Recipes of training: every setting of `capfilt train`, in TOML like those of a run.

A recipe has sections, and may have the same sections once more under the name of a system: `[med.schedule]` goes before
`[schedule]` for `capfilt train med`. `--set section.key=value` goes before both. A system may have a section of its own
name: what of `[clip]` is no section is a setting of it. Sections of other systems are left out.
"""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any, Final

from capfilt.core.config import Section
from capfilt.models.systems.registry import SYSTEMS
from capfilt.pipelines.recipes.load import (
    RECIPES,
    Settings,
    merge,
    override,
    read_settings,
    take_old_names,
    validate,
    warn_of_old_names,
)
from capfilt.training.config import TrainRecipe, recipe_type

FOLDER: Final = RECIPES / "train"

RENAMED: Final = {
    "optimiser": "optimizer",
    "objectives.words": "objectives.token_itm",
    "schedule.least": "schedule.min_ratio",
    "queries.language": "model.language",
}
"""Settings by the names they had until December 2026."""


def load_training(name_or_path: str, system: str, overrides: tuple[str, ...] = ()) -> TrainRecipe:
    """Read a training recipe as a system sees it, and apply `section.key=value` overrides.

    Raises:
        ConfigError: an unknown recipe, key or impossible value; one line that names the setting.
    """
    settings, kind = read_settings(name_or_path, FOLDER), recipe_type(system)
    own = {name: settings.pop(name, {}) for name in SYSTEMS}[system]
    others = _sections(recipe_type()) - _sections(kind)
    common = {name: value for name, value in settings.items() if name not in others}
    chosen: Settings = {}
    for change in overrides:
        override(chosen, change)
    merged, found = _plain(SYSTEMS[system].defaults), []
    for layer in (common, _by_section(own, system, _sections(kind)), chosen):
        found += take_old_names(layer, RENAMED)
        merged = merge(merged, layer)
    origin = f"{name_or_path} ({system})"
    warn_of_old_names(origin, found, RENAMED)
    return validate(kind, merged, origin)


def _sections(kind: type[TrainRecipe]) -> set[str]:
    return {name for name, field in kind.model_fields.items() if isinstance(field.default, Section)}


def _by_section(own: Settings, system: str, sections: set[str]) -> Settings:
    """What a recipe says for one system, by section: a setting that is no section belongs to that of its name."""
    if system not in sections:
        return own
    plain = {name: value for name, value in own.items() if name not in sections and not isinstance(value, dict)}
    return {name: value for name, value in own.items() if name not in plain} | ({system: plain} if plain else {})


def _plain(defaults: Mapping[str, Mapping[str, Any]]) -> Settings:
    return {section: dict(values) for section, values in defaults.items()}


def changed_training(old: Settings, new: Settings, free: set[str]) -> str:
    """The first setting that differs between two dumped recipes, in words; "" when none does but `free` ones.

    Args:
        old: may be of a release before settings were renamed; one that it lacks had its default.
    """
    old, defaults = deepcopy(old), recipe_type().model_validate({}).model_dump(mode="json")
    take_old_names(old, RENAMED)
    for section, values in new.items():
        for key, value in values.items() if isinstance(values, dict) else ():
            before = old.get(section, {}).get(key, defaults.get(section, {}).get(key))
            if before != value and f"{section}.{key}" not in free:
                return f"{section}.{key} was {before!r}, now {value!r}"
    return ""

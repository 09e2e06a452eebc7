"""Settings of a recipe given as Python values."""

from collections.abc import Mapping
from copy import deepcopy
from os import PathLike, fspath
from typing import Any

from capfilt.core.config import Recipe
from capfilt.core.errors import ConfigError
from capfilt.core.serialization import setting
from capfilt.pipelines.recipes.load import make_recipe, read_settings


def recipe_with(recipe: str | PathLike[str], changes: Mapping[str, Any]) -> Recipe:
    """A recipe by name or TOML file, with settings changed: `{"caption.n": 10}`.

    Raises:
        ConfigError: an unknown recipe or setting, or an impossible value; one line that names it.
    """
    origin = fspath(recipe)
    settings = deepcopy(read_settings(origin))
    for name, value in changes.items():
        section, dot, key = name.partition(".")
        if not dot or not isinstance(settings.setdefault(section, {}), dict):
            raise ConfigError(f"set={{{name!r}: ...}}: expected 'section.key', e.g. 'caption.n'")
        settings[section][key] = plain(value)
    return make_recipe(settings, (), origin)


def changes_of(changes: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Settings as `--set` values: `{"engine.kind": "local"}` -> `engine.kind="local"`."""
    return tuple(setting(name, plain(value)) for name, value in (changes or {}).items())


def plain(value: Any) -> Any:
    """A value as TOML would give it: paths as strings."""
    if isinstance(value, PathLike):
        return fspath(value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value

"""Recipes: settings in TOML, read and put together.

A recipe is a file of `pipelines/recipes/` (by name) or a path to a TOML file. It may name a `base` recipe that it
changes. `--set section.key=value` overrides single settings; values are read as TOML, so `--set caption.n=10` is a
number and `--set fetch.allow_private='["127.0.0.0/8"]'` a list; a bare word is a string.
"""

import tomllib
import warnings
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from capfilt.core.config import Recipe
from capfilt.core.errors import ConfigError, RenamedSetting
from capfilt.core.secrets import HIDDEN, is_secret_name, redact, redact_setting, without_secret_settings

RECIPES: Final = Path(__file__).parent

Settings = dict[str, Any]
Kind = TypeVar("Kind", bound=BaseModel)


def recipe_names(folder: Path = RECIPES) -> list[str]:
    """Names of the recipes that ship."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load_recipe(name_or_path: str = "blip", overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply `section.key=value` overrides.

    Raises:
        ConfigError: an unknown recipe, key or impossible value; one line that names the setting.
    """
    return make_recipe(read_settings(name_or_path), overrides, name_or_path)


def make_recipe(settings: Settings, overrides: tuple[str, ...] = (), origin: str = "") -> Recipe:
    """A recipe of settings by section, with `section.key=value` overrides.

    Args:
        origin: where the settings are from, for messages.

    Raises:
        ConfigError: as `load_recipe`.
    """
    settings = deepcopy(settings)
    for change in overrides:
        override(settings, change)
    return validate(Recipe, settings, origin)


def read_settings(name_or_path: str, folder: Path = RECIPES, above: tuple[Path, ...] = ()) -> Settings:
    """The settings of a recipe of `folder`, or of a TOML file, those of its base among them.

    Args:
        above: the recipes that name this one as their base, one the base of the other.

    Raises:
        ConfigError: an unknown recipe, a file that is no TOML, or one that is its own base.
    """
    path = folder / f"{name_or_path}.toml"
    if not path.is_file():
        path = Path(name_or_path)
        if path.suffix != ".toml" or not path.is_file():
            raise ConfigError(f"recipe {name_or_path!r} is not known; there are: {', '.join(recipe_names(folder))}")
    try:
        settings = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path}: {error}") from error
    base = settings.pop("base", "")
    if not isinstance(base, str):
        raise ConfigError(f"recipe {path}: base = {base!r} is no name of a recipe and no path")
    chain = (*above, path.resolve())
    if path.resolve() in above:
        raise ConfigError(f"recipe {path}: it is its own base ({' -> '.join(one.name for one in chain)})")
    return merge(read_settings(base, folder, chain), settings) if base else settings


def merge(base: Settings, change: Settings) -> Settings:
    """`base` with the settings of `change` put over it, section by section."""
    merged = dict(base)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def override(settings: Settings, change: str) -> None:
    """Put `section.key=value` into settings.

    Raises:
        ConfigError: it is not of that form.
    """
    key, sign, text = change.partition("=")
    parts = key.strip().split(".")
    if not sign or len(parts) != 2:
        raise ConfigError(f"--set {redact_setting(change)!r}: expected section.key=value, e.g. caption.n=10")
    section = settings.setdefault(parts[0], {})
    if not isinstance(section, dict):
        raise ConfigError(f"--set {redact_setting(change)!r}: {parts[0]} is not a section")
    section[parts[1]] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word


def take_old_names(settings: Settings, renamed: Mapping[str, str]) -> list[str]:
    """Put settings under their new names.

    Args:
        renamed: the new name of each old one: of a section (`optimiser`), or of a setting (`objectives.words`).

    Returns:
        The old names that were found.
    """
    found = []
    for old, new in renamed.items():
        *section, key = old.split(".")
        *into, now = new.split(".")
        owner = settings.get(section[0], {}) if section else settings
        if isinstance(owner, dict) and key in owner:
            value, target = owner.pop(key), settings.setdefault(into[0], {}) if into else settings
            both = isinstance(value, dict) and isinstance(target.get(now), dict)
            target[now] = merge(value, target[now]) if both else value
            found.append(old)
    return found


def warn_of_old_names(origin: str, found: Iterable[str], renamed: Mapping[str, str]) -> None:
    """One line of warning a setting that was given by its old name."""
    for old in dict.fromkeys(found):
        text = f"recipe {origin}: {old} is now called {renamed[old]}; the old name works until the next release"
        warnings.warn(text, RenamedSetting, stacklevel=3)


def validate(kind: type[Kind], settings: Settings, origin: str) -> Kind:
    """Settings as a recipe of some kind.

    Raises:
        ConfigError: an unknown key or impossible value; one line that names the setting.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            known = _known_keys(kind, first["loc"])
            raise ConfigError(f"recipe {origin}: unknown setting {where}; known: {', '.join(known)}") from error
        shown = HIDDEN if is_secret_name(where) else redact(repr(without_secret_settings(first["input"])))
        raise ConfigError(f"recipe {origin}: {where} = {shown}: {redact(first['msg'])}") from error


def _known_keys(kind: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    section = kind.model_fields.get(str(loc[0])) if len(loc) > 1 else None
    model = section.annotation if section is not None else kind
    return sorted(model.model_fields) if isinstance(model, type) and issubclass(model, BaseModel) else []

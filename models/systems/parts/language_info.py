"""What can be known of a language model without torch, for the systems that put images in front of one."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ConfigError, ModelError
from capfilt.models.formats.checkpoint import read_config
from capfilt.models.registry.resolve import locate
from capfilt.models.training.system import ModelSettings

IGNORED: Final = -100
"""The label of a token that is not learned."""

_POSITIONS: Final = ("max_position_embeddings", "n_positions")


def needs_both(settings: ModelSettings, system: str) -> None:
    """Make sure that an image tower and a language model are named.

    Raises:
        ConfigError: one of them is not; names the setting.
    """
    for name, value in (("model.vision", settings.vision), ("model.language", settings.language)):
        if not value:
            raise ConfigError(f"{name}: {system} connects an image tower to a language model; name its checkpoint")


def language_folder(name: str) -> Path:
    """The directory of the language model `model.language`.

    Raises:
        ConfigError: there is none.
    """
    try:
        return locate(name)
    except ModelError as error:
        raise ConfigError(f"model.language: {error}") from error


def language_config(name: str, kinds: Iterable[str], system: str) -> tuple[Path, dict[str, Any]]:
    """The directory of the language model `model.language`, and what it says of itself.

    Args:
        kinds: the `model_type`s that a system takes.

    Raises:
        ConfigError: it is of another kind, or not there.
    """
    folder = language_folder(name)
    config = read_config(folder)
    if config.get("model_type") not in tuple(kinds):
        raise ConfigError(
            f"model.language = {name!r}: its model type is {config.get('model_type', 'unknown')}; "
            f"{system} takes {', '.join(sorted(kinds))}"
        )
    return folder, config


def check_room(language: Mapping[str, Any], taken: int, setting: str, most: int, what: str) -> None:
    """Make sure that so many tokens of text fit behind what stands before them.

    Args:
        taken: tokens before the text.
        what: what takes them, for people.

    Raises:
        ConfigError: they do not; names the setting.
    """
    positions = next((int(language[name]) for name in _POSITIONS if name in language), None)
    if positions and taken + most >= positions:
        raise ConfigError(f"{setting} = {most}: {what} of the language model's {positions} positions")

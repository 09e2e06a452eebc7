"""What installed packages bring, by entry points of the groups below.

In the pyproject.toml of such a package:

    [project.entry-points."capfilt.captioners"]
    my-captioner = "my_package.models:MyCaptioner"

An installed package is trusted: what it brings is loaded when it is named, and only then.
"""

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from capfilt.core.errors import ConfigError

CAPTIONERS: Final = "capfilt.captioners"
JUDGES: Final = "capfilt.judges"
IMAGE_JUDGES: Final = "capfilt.image_judges"
READERS: Final = "capfilt.readers"
EXPORTS: Final = "capfilt.exports"


def plugins(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name; nothing is loaded.

    Raises:
        ConfigError: two packages bring the same name.
    """
    return _found(group, tuple(sys.path))


def package(entry: EntryPoint) -> str:
    """The name of the package that brings it."""
    return entry.dist.name if entry.dist else entry.value


def load(entry: EntryPoint) -> Any:
    """What an entry point names.

    Raises:
        ConfigError: it cannot be imported.
    """
    try:
        return entry.load()
    except Exception as error:  # a package's own code may raise anything
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise ConfigError(f"{entry.group}: {entry.name} of package {package(entry)}: {why}") from error


@lru_cache(maxsize=64)
def _found(group: str, path: tuple[str, ...]) -> dict[str, EntryPoint]:
    """Kept for a `sys.path`, for a search reads the metadata of every package."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=group):
        if entry.name in found and entry.value != found[entry.name].value:
            both = f"{package(found[entry.name])} and {package(entry)}"
            raise ConfigError(f"{group}: {entry.name!r} is brought by two packages: {both}")
        found[entry.name] = entry
    return found

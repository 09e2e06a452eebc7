"""A captioner, judge or image judge of one's own: `python:MODULE:CLASS`, or the name under which a package brings it.

`python:my_lab.models:Reader` imports the module. An installed package may give its class a name by an entry point
(`capfilt.core.plugins`). The class is one of `capfilt.models.protocols` whose `digest` and `pixels` (and a judge's
`columns`) can be read without an instance; it is made with the `registry.Placement`. The module must be importable
where the run and its workers are. Naming it is trusting it: it is code, unlike a checkpoint.
"""

import importlib
from typing import Any, Final

from capfilt.core.errors import ConfigError, ModelError
from capfilt.core.plugins import CAPTIONERS, IMAGE_JUDGES, JUDGES, load, plugins

PREFIX: Final = "python:"
GROUPS: Final = {"captioner": CAPTIONERS, "filter": JUDGES, "image judge": IMAGE_JUDGES}
_NEEDED: Final = {
    "captioner": ("digest", "pixels", "caption"),
    "filter": ("digest", "pixels", "columns", "score"),
    "image judge": ("digest", "pixels", "columns", "describe"),
}


def is_plugin(name: str) -> bool:
    """Whether a model is a class and not a checkpoint."""
    return name.startswith(PREFIX) or any(name in plugins(group) for group in GROUPS.values())


def load_class(name: str, role: str) -> Any:
    """The class that a name stands for.

    Raises:
        ModelError: no such module or class, or one that cannot play the role.
    """
    kind = _imported(name) if name.startswith(PREFIX) else _brought(name, role)
    if missing := [attribute for attribute in _NEEDED[role] if not hasattr(kind, attribute)]:
        article = "an" if role[0] in "aeiou" else "a"
        raise ModelError(f"model {name!r} cannot be {article} {role}: it has no {missing[0]}")
    return kind


def _imported(name: str) -> Any:
    module, _, found = name.removeprefix(PREFIX).partition(":")
    try:
        return getattr(importlib.import_module(module), found)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(f"model {name!r}: {error}") from error


def _brought(name: str, role: str) -> Any:
    entry = plugins(GROUPS[role]).get(name)
    if entry is None:
        raise ModelError(f"model {name!r} comes from a package that brings no {role} of that name")
    try:
        return load(entry)
    except ConfigError as error:
        raise ModelError(str(error)) from error

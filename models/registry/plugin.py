"""A captioner or judge of a person's own: `python:MODULE:CLASS`, as in `python:my_lab.models:Reader`.

The class is one of `capfilt.models.protocols` whose `digest` and `pixels` (and a judge's `columns`) can be read without
an instance; it is made with the `registry.Placement`. The module must be importable where the run and its workers are.
Naming it is trusting it: it is code, unlike a checkpoint.
"""

import importlib
from typing import Any, Final

from capfilt.core.errors import ModelError

PREFIX: Final = "python:"
_NEEDED: Final = {"captioner": ("digest", "pixels", "caption"), "filter": ("digest", "pixels", "columns", "score")}


def is_plugin(name: str) -> bool:
    return name.startswith(PREFIX)


def load_class(name: str, role: str) -> Any:
    """The class that a name stands for.

    Raises:
        ModelError: no such module or class, or one that cannot play the role.
    """
    module, _, found = name.removeprefix(PREFIX).partition(":")
    try:
        kind = getattr(importlib.import_module(module), found)
    except (ImportError, AttributeError, ValueError) as error:
        raise ModelError(f"model {name!r}: {error}") from error
    if missing := [attribute for attribute in _NEEDED[role] if not hasattr(kind, attribute)]:
        raise ModelError(f"model {name!r} cannot be a {role}: it has no {missing[0]}")
    return kind

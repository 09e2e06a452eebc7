"""The JSON of a checkpoint, which a stranger may have written: an object of sane depth and sizes, or one line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from capfilt.core.errors import ModelError

_LIMITS: Final = (
    # A library makes a module for each layer before it looks at the weights: 10**12 of them take all memory.
    (re.compile(r"(?:^|_)(?:layers|depths?|blocks|stages)$|n_layer$", re.I), 1_000),
    # Pixels of a side; every image is brought to this size.
    (re.compile(r"^(?:image_size|input_size|crop_size|height)$", re.I), 10_000),
)


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        ModelError: it cannot be read, is no JSON object, or asks for absurdly many layers or pixels.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise
    except RecursionError as error:
        raise ModelError(f"{path}: nested too deeply") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: {error}") from error
    if not isinstance(found, dict):
        raise ModelError(f"{path}: no JSON object")
    for name, value in leaves(found):
        for pattern, limit in _LIMITS:
            if pattern.search(name) and any(_is_above(one, limit) for one in _numbers(value)):
                raise ModelError(f"{path}: {name} = {str(value)[:80]}: more than {limit:,}")
    return found


def leaves(settings: Any) -> Iterator[tuple[str, Any]]:
    """Every key of nested objects, with its value."""
    waiting = [settings]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield from part.items()
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _numbers(value: Any) -> Iterator[float]:
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, (int, float)) and not isinstance(one, bool):
            yield one


def _is_above(number: float, limit: int) -> bool:
    return not -limit <= number <= limit

"""A checkpoint is a directory: `config.json`, `model.safetensors`, `tokenizer.json`. Nothing else is ever loaded.

What can be known of it without torch stands here; `capfilt.models.weights` reads and writes the tensors.
"""

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Final

from capfilt.errors import ModelError
from capfilt.models.med.config import MEDConfig

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
TOKENIZER: Final = "tokenizer.json"
FORMAT: Final = "capfilt-med"


def digest(folder: Path) -> str:
    """First 12 hex digits of the sha256 over a checkpoint's files; stands for "which weights" in every caption.

    Raises:
        ModelError: a file that is not there or cannot be read.
    """
    total = hashlib.sha256()
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        try:
            total.update(hashlib.sha256((folder / name).read_bytes()).digest())
        except OSError as error:
            raise ModelError(f"{folder}: no readable {name} ({error.strerror})") from error
    return total.hexdigest()[:12]


def read_config(folder: Path) -> tuple[MEDConfig, tuple[str, ...]]:
    """The shape of the MED in a directory, and the roles it was trained for.

    Raises:
        ModelError: no such file, or one that does not describe a MED of ours.
    """
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: no readable {CONFIG} ({error})") from error
    if not isinstance(settings, dict) or settings.pop("format", None) != FORMAT:
        raise ModelError(f'{folder / CONFIG}: "format" is not {FORMAT!r}')
    roles = tuple(settings.pop("roles", ()))
    known = {field.name for field in fields(MEDConfig)}
    if unknown := sorted(set(settings) - known):
        raise ModelError(f"{folder / CONFIG}: unknown fields {', '.join(unknown)}")
    return MEDConfig(**settings), roles

"""What a training is: the settings, data and checkpoints that must be the same when it resumes."""

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from capfilt.core.errors import ChangedError
from capfilt.core.serialization import to_toml
from capfilt.core.storage import Folder, split_url
from capfilt.training.recipes import changed_training

if TYPE_CHECKING:
    from capfilt.models.training.system import Foundation, System
    from capfilt.training.config import TrainRecipe

RECIPE: Final = "recipe.toml"
STATE: Final = "state.pt"
FREE: Final = {"work.save_every", "data.memory", "model.device"}
"""Settings that may change between a training and its resume."""


def identity(
    system: "System", locations: tuple[str, ...], recipe: "TrainRecipe", foundation: "Foundation"
) -> dict[str, Any]:
    """All that makes a training what it is, as `recipe.toml` holds it."""
    from capfilt.models.formats.checkpoint import digest

    files, talks = foundation.files, recipe.data.talks
    places = (*locations, talks) if talks else locations
    return {
        "task": system.name,
        "data": [{"file": name, "bytes": size} for location in places for name, size in _files(location)],
        "checkpoints": digest(files) if files else "",
        "shape": dict(foundation.shape),
        "recipe": recipe.model_dump(mode="json"),
    }


def _files(location: str) -> list[tuple[str, int]]:
    """Names and sizes of the files of a place, without reading them."""
    from pyarrow import fs

    filesystem, path = split_url(location)
    info = filesystem.get_file_info(path)
    if info.type == fs.FileType.File:
        return [(info.base_name, info.size)]
    folder = Folder(filesystem, path, location)
    return [(name, filesystem.get_file_info(folder.full(name)).size) for name in folder.names("", ".parquet")]


def write_or_check(home: Path, identity: dict[str, Any]) -> None:
    """Note what a training is, or make sure that the one that is there is the same.

    Raises:
        ChangedError: it is another; names the setting.
    """
    from capfilt.models.med.config import OLD_NAMES

    path = home / RECIPE
    if not (path.is_file() and (home / STATE).is_file()):  # without a state nothing was learned that could get lost
        Folder.at(home).write(RECIPE, to_toml(identity).encode())
        return
    old = tomllib.loads(path.read_text(encoding="utf-8"))
    old["shape"] = {OLD_NAMES.get(name, name): value for name, value in old.get("shape", {}).items()}
    change = changed_training(old["recipe"], identity["recipe"], FREE) or next(
        (f"{key} changed" for key in ("task", "data", "checkpoints", "shape") if old.get(key, {}) != identity[key]), ""
    )
    if change:
        raise ChangedError(f"{home.parent} holds another training: {change}; use another --out, or --restart")

"""The state of a training as a file: whole or not there, and safe to open."""

from pathlib import Path
from typing import Any

import torch

from capfilt.core.disk.put_in_place import put_in_place
from capfilt.core.errors import ModelError
from capfilt.models.formats.guarded import load_pickle


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state so that a kill or a power loss at any moment leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    with draft.open("wb") as stream:
        torch.save(state, stream)
    put_in_place(draft, path)


def load_state(path: Path) -> dict[str, Any]:
    """Read a state, on the CPU. Tensors, numbers and strings only: nothing in the file can run.

    Raises:
        ModelError: the file is not a state.
    """
    try:
        state = load_pickle(path)
    except ModelError as error:
        raise ModelError(f"{path}: not a state of a training ({error})") from error
    if not isinstance(state, dict):
        raise ModelError(f"{path}: not a state of a training")
    return _with_new_names(state)


def _with_new_names(state: dict[str, Any]) -> dict[str, Any]:
    """A state as it is written today, of one that a release before November 2026 wrote."""
    if "optimiser" in state:
        state["optimizer"] = state.pop("optimiser")
        for sums in state["sums"]:
            if "words" in sums:
                sums["token_itm"] = sums.pop("words")
    return state

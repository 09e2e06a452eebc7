"""What the `model` and `work` settings of a recipe mean to torch, whatever is trained."""

from pathlib import Path
from typing import TYPE_CHECKING

from capfilt.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from capfilt.training.config import TrainRecipe


def device(recipe: "TrainRecipe") -> str:
    """The torch device a training runs on.

    Raises:
        ConfigError: this machine has none such.
    """
    from capfilt.core.errors import ModelError
    from capfilt.models.registry.registry import Placement

    try:
        return Placement(device=recipe.model.device).resolve()[0]
    except ModelError as error:
        raise ConfigError(f"model.device = {recipe.model.device!r}: this device is not available") from error


def stored_dtype(recipe: "TrainRecipe") -> "torch.dtype":
    """What weights are stored as."""
    import torch

    return torch.float16 if recipe.work.half else torch.float32


def tune(model: "torch.nn.Module", recipe: "TrainRecipe", vision: str = "vision") -> None:
    """Checkpointing and compilation (of the module named `vision`), as the recipe wants them."""
    from capfilt.models.training.activation_checkpointing import checkpoint_layers

    if recipe.model.checkpointing:
        checkpoint_layers(model)
    if recipe.model.compile:
        model.get_submodule(vision).compile()


def checkpoint_files(recipe: "TrainRecipe") -> tuple[Path, ...]:
    """The files of the checkpoints that a recipe names.

    Raises:
        ModelError: one of them is not there, or not whole.
    """
    from capfilt.models.registry.resolve import locate, resolve

    named = [locate(name) for name in (recipe.model.start, recipe.model.vision) if name]
    return tuple(path for folder in named for path in resolve(str(folder)).files)

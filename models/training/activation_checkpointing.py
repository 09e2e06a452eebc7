"""Time for memory: activations of layers computed again in the backward pass instead of kept."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from capfilt.models.med.text import Attention
from capfilt.models.med.vision import VisionLayer
from capfilt.models.training.system import ModelSettings


def checkpoint_layers(model: nn.Module) -> None:
    """Keep of every image layer and every attention of the text side only what goes in; results stay the same."""
    for module in model.modules():
        if isinstance(module, VisionLayer | Attention):
            # use_reentrant=False: torch's older form breaks where several workers look for unused parameters.
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)  # type: ignore[method-assign]  # meant


def tune(model: nn.Module, settings: ModelSettings, vision: str = "vision") -> None:
    """Checkpointing and compilation (of the module named `vision`), as a recipe wants them."""
    if settings.checkpointing:
        checkpoint_layers(model)
    if settings.compile:
        model.get_submodule(vision).compile()

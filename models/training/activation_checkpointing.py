"""Time for memory: activations of layers computed again in the backward pass instead of kept."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint

from capfilt.models.med.text import Attention
from capfilt.models.med.vision import VisionLayer


def checkpoint_layers(model: nn.Module) -> None:
    """Keep of every image layer and every attention of the text side only what goes in; results stay the same."""
    for module in model.modules():
        if isinstance(module, VisionLayer | Attention):
            # use_reentrant=False: torch's older form breaks where several workers look for unused parameters.
            module.forward = partial(checkpoint, module.forward, use_reentrant=False)  # type: ignore[method-assign]

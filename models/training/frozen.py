"""Parts of a model that are not trained: they learn nothing, stay in evaluation mode, and are in no training state."""

from collections.abc import Iterator

from torch import nn

_MARK = "locked"


def lock(module: nn.Module) -> None:
    """Stop training a module for good."""
    module.requires_grad_(False)
    module.eval()
    setattr(module, _MARK, True)


def locked(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The locked modules of a module, by name."""
    return ((name, module) for name, module in root.named_modules() if getattr(module, _MARK, False))


def locked_names(root: nn.Module) -> set[str]:
    """Names of the tensors of a state dict that lie in locked modules."""
    prefixes = tuple(f"{name}." for name, _ in locked(root))
    return {name for name in root.state_dict() if name.startswith(prefixes)}

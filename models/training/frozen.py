"""Parts of a model that are not trained: they learn nothing, stay in evaluation mode, and are in no training state."""

from collections.abc import Iterator

from torch import nn

# Attributes of modules: nothing of it is trained, or nothing but the modules in it.
_MARK = "locked"
_OWN = "own_locked"


def lock(module: nn.Module) -> None:
    """Stop training a module for good."""
    module.requires_grad_(False)
    module.eval()
    setattr(module, _MARK, True)


def lock_own(module: nn.Module) -> None:
    """Stop training a module's own tensors for good, not those of the modules in it."""
    for parameter in module.parameters(recurse=False):
        parameter.requires_grad_(False)
    setattr(module, _OWN, True)


def locked(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The locked modules of a module, by name."""
    return ((name, module) for name, module in root.named_modules() if getattr(module, _MARK, False))


def locked_names(root: nn.Module) -> set[str]:
    """Names of the tensors of a state dict that are locked."""
    prefixes = tuple(f"{name}." for name, _ in locked(root))
    own = {
        f"{name}.{parameter}"
        for name, module in root.named_modules()
        if getattr(module, _OWN, False)
        for parameter, _ in module.named_parameters(recurse=False)
    }
    return {name for name in root.state_dict() if name.startswith(prefixes) or name in own}

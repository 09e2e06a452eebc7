"""What the checks of several systems ask before any work. Free of torch."""

from pathlib import Path

from capfilt.models.registry.resolve import locate, resolve
from capfilt.models.training.system import ModelSettings


def checkpoint_files(settings: ModelSettings) -> tuple[Path, ...]:
    """The files of the checkpoints that a recipe names.

    Raises:
        ModelError: one of them is not there, or not whole.
    """
    named = [locate(name) for name in (settings.start, settings.vision) if name]
    return tuple(path for folder in named for path in resolve(str(folder)).files)

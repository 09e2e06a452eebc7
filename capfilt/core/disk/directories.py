"""Directories that are on the disk before anything is put into them."""

from contextlib import suppress
from pathlib import Path
from typing import Final

from capfilt.core.disk.put_in_place import sync

_KEPT: Final[set[Path]] = set()
"""Directories whose names this process has synced."""


def make_directory(path: Path) -> None:
    """Make a local directory and those above it, each of which is on the disk before anything is put into it."""
    if path in _KEPT and path.is_dir():
        return
    if path.is_dir():  # another process may have made it just now, and not have come to sync it
        with suppress(PermissionError):  # of a directory above OUT that we may pass, and not read
            sync(path.parent)
    else:
        make_directory(path.parent)
        path.mkdir(exist_ok=True)
        sync(path.parent)
    _KEPT.add(path)

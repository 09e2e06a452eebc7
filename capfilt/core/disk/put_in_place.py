"""Giving a finished draft its name, so that a kill or a power loss leaves the old file or the new one, whole."""

import os
from pathlib import Path


def put_in_place(draft: Path, target: Path) -> None:
    """Rename a file, or a directory of files, to its final name; it is on the disk when this returns."""
    for path in [*draft.iterdir(), draft] if draft.is_dir() else [draft]:
        sync(path)  # before the rename, or a power loss may leave a name without its bytes
    draft.replace(target)
    sync(target.parent)


def sync(path: Path) -> None:
    """Wait until the bytes of a file, or the names in a directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

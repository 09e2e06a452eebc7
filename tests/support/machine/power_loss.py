"""A disk that forgets what was not synced: what was done to files, and what a power loss at any moment may leave.

The model is the pessimistic one: what was written is on the disk after fsync of the file, and a name (made, moved or
removed) after fsync of its directory. Anything else may be lost or kept, each for itself.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from capfilt.core.storage import TMP_PREFIX, Folder

Files = dict[str, bytes]
"""What a disk holds: bytes by path."""


@dataclass(frozen=True)
class Step:
    """One thing done: mkdir, sync, rename, unlink, sync_dir; written or deleted when `Folder` said that it was done."""

    kind: str
    path: str
    data: bytes = b""
    source: str = ""  # of a rename


@contextmanager
def recorded(root: Path) -> Iterator[list[Step]]:
    """Everything done below `root` by this process in the context, in its order."""
    steps: list[Step] = []
    lock = threading.RLock()
    with pytest.MonkeyPatch.context() as patch:
        fsync, replace, mkdir, unlink = os.fsync, os.replace, os.mkdir, os.unlink
        write, delete = Folder.write, Folder.delete

        def note(kind: str, path: object, data: bytes = b"", source: object = "") -> None:
            if Path(str(path)).is_relative_to(root):
                steps.append(Step(kind, str(path), data, str(source)))

        def noted_fsync(descriptor: int) -> None:
            with lock:
                fsync(descriptor)
                path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
                note(*(("sync_dir", path) if path.is_dir() else ("sync", path, path.read_bytes())))

        def noted_replace(source: Any, target: Any, **more: Any) -> None:
            with lock:
                data = None if Path(source).is_dir() else Path(source).read_bytes()
                replace(source, target, **more)
                if data is not None:
                    note("rename", target, data, source)

        def noted_mkdir(path: Any, *mode: Any, **more: Any) -> None:
            with lock:
                mkdir(path, *mode, **more)
                note("mkdir", path)

        def noted_unlink(path: Any, **more: Any) -> None:
            with lock:
                unlink(path, **more)
                note("unlink", path)

        def noted_write(folder: Folder, name: str, data: bytes) -> None:
            write(folder, name, data)
            with lock:
                note("written", folder.full(name), data)

        def noted_delete(folder: Folder, name: str) -> None:
            delete(folder, name)
            with lock:
                note("deleted", folder.full(name))

        for name, hook in {"fsync": noted_fsync, "replace": noted_replace, "rename": noted_replace}.items():
            patch.setattr(os, name, hook)
        for name, hook in {"mkdir": noted_mkdir, "unlink": noted_unlink, "remove": noted_unlink}.items():
            patch.setattr(os, name, hook)
        patch.setattr(Folder, "write", noted_write)
        patch.setattr(Folder, "delete", noted_delete)
        yield steps


@dataclass
class _File:
    data: bytes
    synced: bytes | None  # None: nothing of it is on the disk for sure


@dataclass
class Disk:
    """What is on the disk for sure, and what happened since."""

    names: dict[str, _File] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    pending: list[tuple[str, str, _File | None]] = field(default_factory=list)  # kind, path, file
    synced_drafts: dict[str, bytes] = field(default_factory=dict)
    promised: dict[str, set[bytes | None]] = field(default_factory=dict)  # what may stand there; None: nothing

    def do(self, step: Step) -> None:
        if step.kind == "sync":
            self.synced_drafts[step.path] = step.data
            for file in [f for _, path, f in self.pending if path == step.path] + [self.names.get(step.path)]:
                if file is not None:
                    file.synced = step.data
        elif step.kind in ("rename", "unlink", "mkdir"):
            self._rename_in(step)
        elif step.kind == "sync_dir":
            for kind, path, file in [change for change in self.pending if os.path.dirname(change[1]) == step.path]:
                _apply(self.names, self.folders, kind, path, file)
            self.pending = [change for change in self.pending if os.path.dirname(change[1]) != step.path]
        elif step.kind == "written":
            self.promised[step.path] = {step.data}
        elif step.kind == "deleted":
            self.promised[step.path] = {None}

    def _rename_in(self, step: Step) -> None:
        if os.path.basename(step.path).startswith(TMP_PREFIX):
            return  # a draft that is left over says nothing
        file = _File(step.data, self.synced_drafts.get(step.source)) if step.kind == "rename" else None
        self.pending.append((step.kind, step.path, file))
        if step.path in self.promised:
            self.promised[step.path].add(step.data if file else None)

    def after_loss(self, keep: Callable[[], bool], keep_data: Callable[[], bool]) -> Files:
        """What is left when the power goes now.

        Args:
            keep: whether one of the pending changes made it to the disk.
            keep_data: whether bytes of a file that nobody synced did; else the file is empty.
        """
        names, folders = dict(self.names), set(self.folders)
        for kind, path, file in self.pending:
            if keep():
                _apply(names, folders, kind, path, file)
        found = {}
        for path, file in names.items():
            if all(str(parent) in folders or not self._below(parent) for parent in Path(path).parents):
                data = file.data if file.synced is None and keep_data() else file.synced
                found[path] = b"" if data is None else data
        return found

    def broken_promises(self, files: Files) -> list[str]:
        """Paths that were said to be written, or removed, and are not."""
        return [path for path, allowed in self.promised.items() if files.get(path) not in allowed]

    def _below(self, folder: Path) -> bool:
        """Whether a directory was made while we looked."""
        made = {path for kind, path, _ in self.pending if kind == "mkdir"}
        return str(folder) in made or str(folder) in self.folders


def _apply(names: dict[str, _File], folders: set[str], kind: str, path: str, file: _File | None) -> None:
    if kind == "mkdir":
        folders.add(path)
    elif file is None:
        names.pop(path, None)
    else:
        names[path] = file


@dataclass(frozen=True)
class Loss:
    """A moment at which the power went: how many steps were done, what is left, and which promises that breaks."""

    step: int
    how: str
    files: Files
    broken: list[str]

    @property
    def digest(self) -> str:
        parts = [f"{path}\0{sha256(data).hexdigest()}" for path, data in sorted(self.files.items())]
        return sha256("\n".join(parts).encode()).hexdigest()


def losses(steps: list[Step], seeds: int = 2) -> Iterator[Loss]:
    """Every moment of a trace at which the power may go, in `2 + seeds` ways each."""
    disk = Disk()
    for number in range(len(steps) + 1):
        ways: list[tuple[str, Callable[[], bool], Callable[[], bool]]] = [
            ("all that was not synced is lost", lambda: False, lambda: False),
            ("names are kept, data is lost", lambda: True, lambda: False),
        ]
        for seed in range(seeds):
            dice = random.Random(f"{number} {seed}")
            ways.append((f"seed {seed}", lambda dice=dice: dice.random() < 0.5, lambda dice=dice: dice.random() < 0.5))
        for how, keep, keep_data in ways:
            files = disk.after_loss(keep, keep_data)
            yield Loss(number, how, files, disk.broken_promises(files))
        if number < len(steps):
            disk.do(steps[number])

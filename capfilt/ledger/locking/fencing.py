"""Fenced writes: a PUT that reaches the bucket late, when the folder has another owner, changes nothing.

Whoever writes for a lease first sees which version of the file is there, then makes sure that the lease is still its
own, and only then replaces just that version. A later owner writes after that; so a PUT that was held up on its way
finds another version, and the store refuses it. The order matters: seen after the check, the version might be that of
the later owner.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Final

from capfilt.core.errors import BusyError
from capfilt.core.storage import Folder, WriteGuard, guarded_writes, patiently
from capfilt.ledger.locking.conditional import ConditionalFiles, Conflict, PlainDocument

LEASE: Final = "lease.json"
TIMEOUT: Final = timedelta(seconds=60)
"""Of one request, which may carry the images of a chunk."""
TRIES: Final = 5
"""Of writing one file, each after another version of it came between."""


@dataclass(frozen=True, slots=True)
class FencingToken:
    """What a driver's lease is known by to its workers."""

    generation: int = 0  # 0: the driver holds none
    conditional: bool = False  # the store keeps conditions, so writes can be fenced


NO_LEASE: Final = FencingToken()


@dataclass(frozen=True)
class Fence:
    """Writes to a folder on a bucket, for one generation of its lease."""

    folder: Folder
    generation: int
    check: Callable[[str], None]
    """Asked with the file's name once its version is seen; raises if the lease is not ours."""

    @cached_property
    def files(self) -> ConditionalFiles:
        return ConditionalFiles(self.folder, TIMEOUT)

    def put(self, name: str, data: bytes) -> None:
        """Write a file.

        Raises:
            BusyError: the folder has another owner.
            OSError: the store does not answer.
        """
        for _ in range(TRIES):
            version = self.files.version(name)
            self.check(name)
            try:
                self.files.write(name, data, version)
            except Conflict:  # an older owner's PUT came late, or an answer to ours got lost: ours is the last word
                refuse_stale(self.folder, self.generation)
            else:
                return
        raise BusyError(f"{self.folder.location}/{name}: another process writes it")


@contextmanager
def fenced_writes(folder: Folder, token: FencingToken) -> Iterator[None]:
    """Write for the driver of `token`, in a process that does not hold the lease.

    Raises:
        BusyError: a later driver took the folder.
    """

    def check(name: str) -> None:
        refuse_stale(folder, token.generation)

    if not token.generation:
        yield
        return
    put = Fence(folder, token.generation, check).put if token.conditional else None
    with guarded_writes(folder, WriteGuard(check, put)):
        yield


def refuse_stale(folder: Folder, generation: int) -> None:
    """Refuse to write for a driver that does not hold the folder any more.

    Raises:
        BusyError: a later driver took the folder.
    """
    held, _ = patiently(PlainDocument(folder, LEASE).read)
    now = int(held.get("generation", generation))
    if now != generation:
        raise BusyError(f"{folder.location} was taken over by another run (lease {now}, this one had {generation})")

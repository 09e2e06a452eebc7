"""A lease: one driver at a time for a folder that no kernel can lock, such as one on a bucket.

The owner writes `lease.json` and renews it; a lease not renewed for `TERM` seconds is free, so a dead owner cannot hold
it for ever. It is taken and renewed by conditional PUTs, so of two that take it at once one is refused. Each owner gets
the next generation number, which stays in the file when the lease is given back.

Whoever cannot renew stops `MARGIN` seconds before the lease ends: every write of the driver asks the lease first, and
every write of a worker compares its driver's generation with that in the file. Both are fenced (see `fencing`).

On a store without conditional PUTs a new owner waits a moment and reads back what it wrote: of two, the last writer
wins and the other one sees it.
"""

import os
import socket
import threading
import time
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from capfilt.core.errors import BusyError, UnconditionalStore
from capfilt.core.storage import Folder, WriteGuard, guarded_writes, patiently
from capfilt.ledger.locking.conditional import Conflict, Document, PlainDocument, S3Document, Version
from capfilt.ledger.locking.fencing import LEASE, NO_LEASE, Fence, FencingToken

TERM: Final = 90.0
"""Seconds after its last renewal that a lease still holds."""
RENEWAL: Final = 20.0
"""Seconds between renewals; after one that failed, a tenth of it."""
CONFIRM: Final = 1.0
"""Seconds between writing a lease and believing it, where the store keeps no conditions."""
# A driver that was stopped (SIGSTOP) goes on with the write it was in when it wakes up.
MARGIN: Final = 30.0
"""Seconds before its end from which on nothing is written any more: more than one request to a store takes."""

_held: dict[str, "Lease"] = {}
"""The leases of this process by the path of their folder."""


@dataclass
class Lease:
    """The lease of a folder as its owner sees it; safe to call from several threads."""

    folder: Folder
    document: Document
    term: float
    margin: float
    owner: str = field(default_factory=lambda: uuid.uuid4().hex)
    generation: int = 0
    version: Version = None
    ends: float = 0.0  # by time.monotonic(), the margin taken off
    trouble: str = ""  # of the last renewal
    lost: str = ""  # why it is not ours any more

    def take(self) -> None:
        """Write this owner into the document.

        Raises:
            BusyError: somebody else holds it.
        """
        held, version = patiently(self.document.read)
        self.refuse(held)
        self.generation = int(held.get("generation", 0)) + 1
        try:
            patiently(lambda: self._write(version))
        except Conflict:  # or a first try was done, and its answer got lost
            held, self.version = patiently(self.document.read)
            self.refuse(held)
            if held.get("owner") != self.owner:
                raise BusyError(f"{self.folder.location} was taken by another run at the same moment") from None

    def renew(self) -> None:
        """Extend the lease by a term; `lost` says if it cannot be."""
        try:
            if isinstance(self.document, PlainDocument):  # it replaces whatever is there: look first
                self._adopt()
            if not self.lost:
                self._write(self.version)
        except Conflict:
            self._adopt()

    def _adopt(self) -> None:
        """Go on with what stands there if it is ours: a renewal whose answer got lost; else the lease is lost."""
        held, self.version = self.document.read()
        if held.get("owner", self.owner) != self.owner:
            self.lost = f"was taken over by {held.get('who', 'another run')}"

    def _write(self, version: Version, term: float | None = None) -> None:
        now = time.monotonic()
        term = self.term if term is None else term
        who = f"process {os.getpid()} on {socket.gethostname()}"
        content = {"owner": self.owner, "who": who, "until": time.time() + term, "generation": self.generation}
        self.version = self.document.write(content, version)
        self.ends, self.trouble = now + term - self.margin, ""

    def refuse(self, held: dict[str, Any]) -> None:
        """Raise `BusyError` if somebody else holds the lease."""
        if held.get("owner", self.owner) != self.owner and held["until"] > time.time():
            left = max(1, round(held["until"] - time.time()))
            where = self.folder.location
            raise BusyError(f"{where} is being written by {held['who']}; if that process is dead, wait {left} s")

    def check(self, name: str = "") -> None:
        """Raise `BusyError` if the lease is lost, or so near its end that a write might come after it.

        Args:
            name: of the file that is to be written.
        """
        if name == LEASE:
            return
        if not self.lost and time.monotonic() > self.ends:
            self.lost = f"could not renew its lease ({self.trouble or 'this process was stopped for a while'})"
        if self.lost:
            raise BusyError(f"{self.folder.location}: this run {self.lost}, and stops; the same command resumes")

    def give_back(self) -> None:
        """End the lease; its generation stays, so that a late worker of it is told from those of the next owner."""
        with suppress(Conflict, OSError):  # then it ends by itself
            self._write(self.version, term=0.0)


@contextmanager
def lease(
    folder: Folder,
    *,
    term: float = TERM,
    renewal: float = RENEWAL,
    confirm: float = CONFIRM,
    margin: float = MARGIN,
) -> Iterator[Lease]:
    """Hold the folder's lease while the context lasts; writes to the folder ask it first.

    Raises:
        BusyError: somebody else holds it, or it was lost meanwhile.
    """
    held = Lease(folder, _document(folder), term, margin)
    held.take()
    if not held.document.keeps_conditions():
        _confirm(held, confirm)
    # A thread and not a timer in the driver's loop: the driver waits for chunks for minutes.
    stop = threading.Event()
    keeper = threading.Thread(target=_keep, args=(held, renewal, stop), daemon=True, name="lease keeper")
    keeper.start()
    _held[folder.path] = held
    try:
        with guarded_writes(folder, _guard(held)):
            yield held
        held.check()
    finally:
        del _held[folder.path]
        stop.set()
        keeper.join()
        if not held.lost:
            held.give_back()


def _guard(held: Lease) -> WriteGuard:
    if isinstance(held.document, PlainDocument):
        return WriteGuard(held.check)
    return WriteGuard(held.check, Fence(held.folder, held.generation, held.check).put)


def held_token(folder: Folder) -> FencingToken:
    """What the workers of this process need to write to a folder; of generation 0 where no lease is needed."""
    if folder.path not in _held:
        return NO_LEASE
    held = _held[folder.path]
    return FencingToken(held.generation, isinstance(held.document, S3Document))


def _document(folder: Folder) -> Document:
    """With conditions where they can be had; obstore knows fewer kinds of credentials than pyarrow."""
    plain = PlainDocument(folder, LEASE)
    if folder.filesystem.type_name != "s3":
        return plain
    document = S3Document(folder, LEASE)
    try:
        patiently(document.read)
    except OSError:
        plain.read()  # raises if it is the store that is away
        return plain
    return document


def _confirm(held: Lease, seconds: float) -> None:
    """Make sure of a lease on a store that takes every write: wait, and see who was last."""
    text = f"{held.folder.location}: the store has no conditional PUTs: do not start two runs there at the same moment"
    warnings.warn(text, UnconditionalStore, stacklevel=4)
    held.document = PlainDocument(held.folder, LEASE)
    time.sleep(seconds)
    held.refuse(held.document.read()[0])


def _keep(held: Lease, renewal: float, stop: threading.Event) -> None:
    """Renew until told to stop or the lease is lost; after a failure sooner, as long as there is time."""
    pause = renewal
    while not stop.wait(pause) and not held.lost:
        try:
            held.renew()
            pause = renewal
        except Exception as error:  # the thread must not end unheard: `check` says why it stopped
            held.trouble = " ".join(str(error).split())[:160]
            pause = renewal / 10

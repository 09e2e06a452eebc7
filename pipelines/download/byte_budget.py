"""A bound on the bytes that the bodies of a call hold together, on their way and kept."""

from dataclasses import dataclass

from capfilt.core.schema import Reason
from capfilt.pipelines.download.failure import DownloadError


@dataclass(frozen=True, slots=True)
class Downloaded:
    """What a URL led to."""

    body: bytes
    redirect_hosts: tuple[str, ...] = ()  # hosts that redirects led to, beside the URL's own, in order


@dataclass(eq=False, slots=True)
class Body:
    """The bytes of one URL, as far as they have come."""

    url: str
    data: bytes | bytearray = b""
    at_end: int = 0  # bytes that there will be: as the server says, else as many as may be
    given_up: bool = False
    redirect_hosts: tuple[str, ...] = ()  # as of `Downloaded`


class ByteBudget:
    """Where all bodies together exceed it, the one that will be the largest is given up, on its way or complete.

    So servers that send as much as they may cost each other their bodies, and the small ones of others arrive, in
    whatever order. Where servers say how much they send, what is given up does not depend on the order: it is all
    bodies above one size.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._held: dict[Body, int] = {}
        self._total = 0

    def hold(self, body: Body) -> None:
        """Count what `body` has now.

        Raises:
            DownloadError: `chunk_full`: it was given up.
        """
        if not body.given_up:
            self._total += len(body.data) - self._held.get(body, 0)
            self._held[body] = len(body.data)
        while self._total > self.size:
            self._give_up(max(self._held, key=lambda one: (one.at_end, self._held[one], one.url)))
        if body.given_up:
            self.release(body)
            raise self.failure()

    def release(self, body: Body) -> None:
        """`body` failed: it holds nothing any more."""
        if isinstance(body.data, bytearray):
            body.data.clear()  # whoever fills it has it in hand, perhaps until the next piece comes
        body.data = b""
        self._total -= self._held.pop(body, 0)

    def failure(self) -> DownloadError:
        """Why a body was given up."""
        detail = f"the images of its chunk are more than {self.size} bytes together, and it is among the largest"
        return DownloadError(Reason.CHUNK_FULL, detail)

    def _give_up(self, body: Body) -> None:
        body.given_up = True
        self.release(body)

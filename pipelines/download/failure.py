"""Why a URL gave no bytes, as the `failures` table says it."""

from capfilt.core.schema import Reason

DETAIL_LENGTH = 200  # characters of `detail`


class DownloadError(Exception):
    """A URL that ended without bytes.

    Args:
        reason: the enum value of the row.
        detail: one short plain line. Callers compose it of their own words, host names and addresses; a URL never
            stands in it, because user info and query strings can hold credentials.
        retry: whether the failure may be transient: try again in the same call.
        after: seconds the server asks to wait before that try (`Retry-After`).
    """

    def __init__(self, reason: Reason, detail: str, *, retry: bool = False, after: float = 0.0) -> None:
        self.reason = reason
        self.detail = plain(detail)
        self.retry = retry
        self.after = after
        super().__init__(f"{reason}: {self.detail}")

    def about(self, what: str) -> "DownloadError":
        """The same failure, met on the way: `what` stands before its detail."""
        return DownloadError(self.reason, f"{what}: {self.detail}", retry=self.retry, after=self.after)


class TooManyRedirects(DownloadError):
    """The redirects did not end."""

    def __init__(self, limit: int) -> None:
        super().__init__(Reason.PROTOCOL, f"more than {limit} redirects")


def plain(text: str) -> str:
    """One printable line of at most `DETAIL_LENGTH` characters: parts of it may come from a hostile server."""
    # Cut before it is split: a hostile server may send a line of megabytes. Four times, for blanks fold.
    line = " ".join(text[: 4 * DETAIL_LENGTH].split())
    return "".join(char if char.isprintable() else "?" for char in line)[:DETAIL_LENGTH]

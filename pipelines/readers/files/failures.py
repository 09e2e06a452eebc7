"""What goes wrong with a file, or with one row of it."""

import gzip
import lzma
import zlib
from typing import Final

from capfilt.core.errors import ConfigError
from capfilt.core.schema import Reason
from capfilt.pipelines.readers.text.hygiene import clean_line


class Lost(Exception):
    """A row that failed while it was read; becomes `reason` and `detail` of the row."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


class Broken(Exception):
    """A container that breaks off here: what came before is good, what follows is lost."""


class NotAnInput(ConfigError):
    """A sound file that holds nothing to read; found in a folder it is left out with this reason."""


class NothingToRead(NotAnInput):
    """The same, of a file whose format is certain: no other reader is asked."""


class Unreadable(Exception):
    """Reading took too much memory, or killed its process; one line."""


UNREADABLE: Final = (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, Broken)
"""What a file that breaks off raises while it is read (never an error of the file system)."""


def reason_of(error: BaseException) -> str:
    """What went wrong in a few words, without the path that pyarrow repeats."""
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "permission denied"
    return " ".join(clean_line(str(error)).split())[:300] or type(error).__name__

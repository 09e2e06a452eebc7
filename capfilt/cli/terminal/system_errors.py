"""Errors of the machine that a person can act on: a full or read-only disk, a damaged file. They become one line.

Reading and writing go through pyarrow, DuckDB, safetensors and the standard library, lazily in places, so these errors
come out wherever a table is scanned or a file closed. They are distinguished here once, at the border to the user.
"""

import errno
from typing import Final

from capfilt.core.errors import CapfiltError, IntegrityError, StorageError
from capfilt.core.tables import damaged, is_damage

_UNWRITABLE: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota of the disk is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "operation not permitted",
    errno.EIO: "the disk reports an input/output error",
}


def as_ours(error: Exception) -> CapfiltError | None:
    """The error of ours that a system error stands for; None for one that a person can do nothing about.

    `StorageError` for a disk that is full, read-only or forbidden, `IntegrityError` for a damaged file of a run.
    """
    if told := _unwritable(error):
        return StorageError(told)
    if is_damage(error):
        return IntegrityError(damaged("a file of the run", error))
    return None


def _unwritable(error: BaseException) -> str:
    """What a system error says of a disk: "OUT/images/000001.parquet: the disk is full"; "" for other errors."""
    number = getattr(error, "errno", None)
    text = str(error)
    for code, words in _UNWRITABLE.items():
        if number == code or f"[errno {code}]" in text.lower() or f"(os error {code})" in text:
            name = getattr(error, "filename", None)
            return f"{name}: {words}" if name else f"{words} ({' '.join(text.split())[:160]})"
    return ""

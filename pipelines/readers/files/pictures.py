"""Images that are named relative to a folder."""

import os
import posixpath
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from pyarrow import fs as pafs

from capfilt.core.chunks import Json
from capfilt.core.schema import Reason
from capfilt.core.storage import patiently, split_url
from capfilt.pipelines.readers.files.failures import Lost
from capfilt.pipelines.readers.files.links import is_inside, real_root
from capfilt.pipelines.readers.files.open import is_local
from capfilt.pipelines.readers.files.spelling import Spelling, spelled

MAX_IMAGE_BYTES: Final = 256_000_000
"""A larger file is no image anybody wants in memory; its row fails as too_large."""

_THREADS: Final = 8
"""Images read at once: on an object store nearly all of the time is waiting."""
_SAMPLED: Final = 64
"""Images of a part whose size is asked for on an object store, one request each."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the images of a list are, if not right beside it."""

    folder: str  # relative to the folder of the list
    strip: int  # folders at the front of every reference that are not there
    spelling: Spelling = ()  # how the references have to be spelled
    others: tuple[str, ...] = ()  # further folders, none of which holds a name that another has

    def to_json(self) -> dict[str, Json]:
        """For `Part.where`."""
        return {"pictures": [self.folder, self.strip, list(self.spelling), list(self.others)]}

    @classmethod
    def from_json(cls, where: Mapping[str, Any]) -> "Origin | None":
        """The origin that `to_json` wrote; plans of older versions have two values."""
        if not where.get("pictures"):
            return None
        folder, strip, *rest = where["pictures"]
        return cls(folder, strip, *(tuple(one) for one in rest))


class Neighbours:
    """Images that are named relative to a folder.

    A reference never leaves the folder, whatever it says and wherever a link leads: lists come from strangers.
    """

    def __init__(self, folder: str, origin: Origin | None = None, others: Sequence["Neighbours"] = ()) -> None:
        self.filesystem, path = split_url(folder)
        self.root = path if "://" in folder else folder  # as written, so that paths compare with those of a listing
        self.strip = origin.strip if origin else 0
        self.spelling = origin.spelling if origin else ()
        self.others = others  # further folders to look in
        self._real = real_root(self.root) if is_local(self.filesystem) else ""
        self._inside: dict[str, bool] = {}  # folders that were looked at

    @classmethod
    def beside(cls, location: str, origin: Origin | None = None) -> "Neighbours":
        """The images of a list at `location`: beside it, or where `origin` says."""
        base, mark, query = location.partition("?") if "://" in location else (location, "", "")
        folder = posixpath.dirname(base)
        if origin is None:
            return cls(folder + mark + query)
        scheme, separator, path = folder.rpartition("://")
        paths = [posixpath.normpath(posixpath.join(path, one)) for one in (origin.folder, *origin.others)]
        first, *others = [scheme + separator + one + mark + query for one in paths]
        return cls(first, origin, [cls(one, origin) for one in others])

    def resolve(self, reference: str) -> str:
        """The path of `reference` on the file system.

        Raises:
            Lost: it leaves the folder.
        """
        for place in (self, *self.others) if self.others else ():
            if self._is_there(path := place._path(reference)):
                return path
        return self._path(reference)

    def _is_there(self, path: str) -> bool:
        info = self.filesystem.get_file_info(path)
        return bool(info.type == pafs.FileType.File)

    def _path(self, reference: str) -> str:
        named = posixpath.normpath(spelled(reference, self.spelling)) if self.spelling else reference
        named = named.split("/", self.strip)[-1]
        path = posixpath.normpath(posixpath.join(self.root, named))
        if not path.startswith(self.root.rstrip("/") + "/") or "\0" in path:
            raise Lost(Reason.MISSING_FILE, f"path leaves the folder of the list: {reference}")
        if self._real and not self._stays(path):
            raise Lost(Reason.MISSING_FILE, f"a link that leaves the folder: {reference}")
        return path

    def _stays(self, path: str) -> bool:
        folder = posixpath.dirname(path)
        if folder not in self._inside:
            # By folder, for lists name thousands of images in one, and to resolve its links is a call a level.
            self._inside[folder] = is_inside(folder, self._real)
        return self._inside[folder] and (not os.path.islink(path) or is_inside(path, self._real))

    def read(self, reference: str, limit: int = MAX_IMAGE_BYTES) -> bytes:
        """All bytes of a file of at most `limit` bytes.

        Raises:
            Lost: it is missing, cannot be read or is no file of a sensible size.
            OSError: an object store fails in another way; another try may help.
        """
        path = self.resolve(reference)
        try:
            info = self.filesystem.get_file_info(path)
            if info.type == pafs.FileType.File and info.size > limit:
                raise Lost(Reason.TOO_LARGE, f"{info.size} bytes: {reference}")
            if info.type != pafs.FileType.File:
                raise Lost(Reason.MISSING_FILE, f"no such file: {reference}")
            # compression=None: pyarrow would unpack whatever is called .gz or .zst.
            with self.filesystem.open_input_stream(path, compression=None) as stream:
                return bytes(stream.read())
        except (OSError, pa.ArrowInvalid) as error:
            if not is_local(self.filesystem) and not isinstance(error, FileNotFoundError):
                raise
            raise Lost(Reason.MISSING_FILE, f"cannot be read: {reference}") from error

    def read_all(self, references: Sequence[str | None], limit: int = MAX_IMAGE_BYTES) -> list[bytes | Lost | None]:
        """`read` of each reference, several at once, a `Lost` in the place of a failed one."""
        with ThreadPoolExecutor(_THREADS) as pool:
            return list(pool.map(lambda one: self._read_or_lost(one, limit), references))

    def sizes(self, references: Sequence[str | None]) -> list[int]:
        """Bytes of each image, 0 for one that is not there.

        On an object store, where each look is a request, the mean of the first ones stands for all.
        """
        if is_local(self.filesystem):
            return [self._size(reference) for reference in references]
        sample = [self._size(reference) for reference in references[:_SAMPLED]]
        return [sum(sample) // max(len(sample), 1)] * len(references)

    def _read_or_lost(self, reference: str | None, limit: int) -> bytes | Lost | None:
        try:
            if reference is None:
                return None
            return patiently(lambda: self.read(reference, limit), is_local(self.filesystem))
        except Lost as lost:
            return lost

    def _size(self, reference: str | None) -> int:
        try:
            info: Any = self.filesystem.get_file_info(self.resolve(reference)) if reference else None
        except (Lost, OSError, pa.ArrowInvalid):
            return 0
        return int(info.size or 0) if info is not None else 0

"""Files, wherever they are: one `Folder` for a local path or a bucket URL, on top of `pyarrow.fs`.

Writing is all or nothing under a final name: locally a temporary file, fsync and rename; on an object store one PUT.
Nothing is ever renamed or appended to on an object store. What `write` and `delete` did is on the disk when they
return, also after a power loss: the directory is synced as well, for without that a rename may be forgotten while a
later one, that of a commit record, is kept.
"""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeVar
from urllib.parse import parse_qsl, urlsplit

import pyarrow as pa
from pyarrow import fs as pafs

from capfilt.core.disk.directories import make_directory
from capfilt.core.disk.put_in_place import sync
from capfilt.core.errors import InputError
from capfilt.core.secrets import is_secret_name

T = TypeVar("T")

TMP_PREFIX = ".tmp-"
"""Begins the name of a file that is being written. Such a name has no suffix, for the globs of others
(`read_parquet('out/images/*.parquet')`) match hidden files too, and a killed writer leaves its file behind."""

_DELETED: Final = b"# withdrawn "
_MARK_BYTES: Final = len(_DELETED) + 33
"""A mark of a deleted file: `_DELETED`, 32 hex digits and a line feed; an empty file to whoever reads TOML."""

TRIES: Final = 4
"""Of one request to an object store; all pauses together are 1.4 s."""
FIRST_PAUSE: Final = 0.2
"""Seconds before an object store is asked once more; doubles."""

_CONTAINERS: Final = frozenset({"abfs", "abfss", "hdfs"})  # NAME@host is a container or a user there, and no secret


def split_url(location: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a path or URL, and the path on it (absolute when local).

    Raises:
        InputError: a scheme that pyarrow does not know, a bucket that cannot be reached, or a URL that holds a secret:
            locations stand in plans, tables and messages.
    """
    if "://" not in location:
        return pafs.LocalFileSystem(), str(Path(location).expanduser().resolve())
    shown = without_secrets(location)
    if has_secret(location):
        raise InputError(f"{shown}: a key in the URL would be stored and shown; set AWS_ACCESS_KEY_ID and so on")
    try:
        return _open(location)
    except (pa.ArrowInvalid, OSError, ValueError, ImportError) as error:
        raise InputError(f"{shown}: {' '.join(str(error).replace(location, shown).split())}") from error


def _open(location: str) -> tuple[pafs.FileSystem, str]:
    """By pyarrow where it knows the scheme, else by fsspec."""
    url = urlsplit(location)
    if url.scheme == "s3" and os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in ("1", "yes", "true"):
        endpoint, region = os.environ.get("AWS_ENDPOINT_URL"), os.environ.get("AWS_DEFAULT_REGION")
        # pyarrow has no setting of the environment for public buckets; without this it looks for keys and fails.
        return pafs.S3FileSystem(anonymous=True, endpoint_override=endpoint, region=region), url.netloc + url.path
    try:
        filesystem, path = pafs.FileSystem.from_uri(location)
    except pa.ArrowInvalid as error:
        if "Unrecognized filesystem type" not in str(error):
            raise
        import fsspec

        opened, path = fsspec.core.url_to_fs(location)  # az:// needs the package adlfs, and says so
        filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(opened))
    return filesystem, path


def has_secret(location: str) -> bool:
    """Whether a URL holds a key or password, as far as can be told."""
    url = urlsplit(location)
    user, at, _ = url.netloc.rpartition("@")
    in_user = bool(at) and not (url.scheme in _CONTAINERS and ":" not in user)
    return in_user or any(is_secret_name(name) or "@" in value for name, value in parse_qsl(url.query))


# A store that cuts an answer short raises OSError in pyarrow, whose own retries cover requests and not bodies (seen
# against S3 servers in tests).
def patiently(work: Callable[[], T], local: bool = False) -> T:
    """Do work on an object store, again where that fails: it cut an answer short, say, which pyarrow does not mend.

    Args:
        local: the work is on local files; they fail for good.

    Raises:
        OSError: it failed for good, or `TRIES` times.
    """
    for attempt in range(TRIES):
        try:
            return work()
        except OSError as error:
            if local or attempt == TRIES - 1 or isinstance(error, FileNotFoundError | PermissionError):
                raise
        time.sleep(FIRST_PAUSE * 2**attempt)
    raise AssertionError("work was tried at least once")


def without_secrets(location: str) -> str:
    """A location without user info and query: what may stand in tables and messages."""
    if "://" not in location:
        return location
    url = urlsplit(location)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory to read and write whole files in, by names relative to it ("commits/000012.parquet")."""

    filesystem: pafs.FileSystem
    path: str
    location: str

    @classmethod
    def at(cls, location: str | Path) -> Self:
        """The folder at a local path or bucket URL; it need not exist yet."""
        filesystem, path = split_url(str(location))
        return cls(filesystem, path.rstrip("/"), str(location))

    @property
    def is_local(self) -> bool:
        return isinstance(self.filesystem, pafs.LocalFileSystem)

    @property
    def everywhere(self) -> str:
        """The location as a process means it that stands in another directory."""
        return self.path if self.is_local else self.location

    def full(self, name: str) -> str:
        """The path of `name` on the folder's file system."""
        return f"{self.path}/{name}" if name else self.path

    def exists(self, name: str = "") -> bool:
        info = patiently(lambda: self.filesystem.get_file_info(self.full(name)), self.is_local)
        return bool(info.type != pafs.FileType.NotFound) and not self._is_deleted(info)

    def holds_files(self) -> bool:
        """Whether a file stands anywhere in it; folders, and the objects that stand for them in a bucket, are none."""
        return bool(self._files("") or self._files("", recursive=True))

    def tree(self, prefix: str = "") -> list[str]:
        """Sorted names of all files in the directory `prefix`, however deep; unfinished ones too."""
        return sorted(info.path.removeprefix(self.path).lstrip("/") for info in self._files(prefix, recursive=True))

    def names(self, prefix: str, suffix: str = "") -> list[str]:
        """Sorted names of the files in the directory `prefix` ("" = in the folder itself), unfinished ones left out."""
        keep = (base for base in self._bases(prefix) if base.endswith(suffix) and not base.startswith(TMP_PREFIX))
        return sorted(f"{prefix}/{base}" if prefix else base for base in keep)

    def sizes(self, prefix: str) -> dict[str, int]:
        """Bytes of the Parquet files in the directory `prefix` by name; one listing, no file is read."""
        found = (info for info in self._files(prefix) if not info.base_name.startswith(TMP_PREFIX))
        return {f"{prefix}/{info.base_name}": info.size for info in found if info.extension == "parquet"}

    def sweep(self, prefix: str) -> None:
        """Remove what killed writers left in the directory `prefix`; a live one there would fail."""
        for base in self._bases(prefix):
            if base.startswith(TMP_PREFIX):
                self._delete_object(f"{prefix}/{base}")

    def read(self, name: str) -> bytes:
        """All bytes of a file; `FileNotFoundError` if it is not there."""
        return patiently(lambda: self._read(name), self.is_local)

    def write(self, name: str, data: bytes) -> None:
        """Write a file so that it is there whole or not at all, replacing an older one.

        The owner of a lease on the folder guards it (`guarded_writes`), and may refuse.
        """
        if self.is_local:
            self._write_local(Path(self.full(name)), data)
            return
        patiently(lambda: self._put(name, data))

    def delete(self, name: str) -> None:
        """Remove a file; one that is not there is no error.

        Where writes are fenced (see `WriteGuard`), a mark of its own takes its place, and counts as no file. A DELETE
        has no condition, so one that is held up on its way would remove what a later owner wrote. And after it, the
        late PUT of an older writer would find the name as it left it, and bring its file back.
        """
        if self.is_local:
            _delete_local(Path(self.full(name)))
        elif (guard := _GUARDS.get(self.path)) and guard.put:
            self.write(name, _DELETED + uuid.uuid4().hex.encode() + b"\n")
        elif self.exists(name):
            self._ask(name)
            self._delete_object(name)

    def _delete_object(self, name: str) -> None:
        """Remove a file; the answer to a first try may get lost, and the next finds none."""
        with suppress(FileNotFoundError):
            patiently(lambda: self.filesystem.delete_file(self.full(name)), self.is_local)

    def _bases(self, prefix: str) -> list[str]:
        return [info.base_name for info in self._files(prefix)]

    def _files(self, prefix: str, *, recursive: bool = False) -> list[pafs.FileInfo]:
        selector = pafs.FileSelector(self.full(prefix), allow_not_found=True, recursive=recursive)
        infos = patiently(lambda: self.filesystem.get_file_info(selector), self.is_local)
        return [info for info in infos if info.type == pafs.FileType.File and not self._is_deleted(info)]

    def _is_deleted(self, info: pafs.FileInfo) -> bool:
        """Whether a file is the mark of a deleted one; only files of just its size are read."""
        if self.is_local or info.type != pafs.FileType.File or info.size != _MARK_BYTES:
            return False
        return patiently(lambda: self._bytes(info.path)).startswith(_DELETED)

    def _read(self, name: str) -> bytes:
        data = self._bytes(self.full(name))
        if not self.is_local and len(data) == _MARK_BYTES and data.startswith(_DELETED):
            raise FileNotFoundError(f"{self.location}/{name}")
        return data

    def _bytes(self, path: str) -> bytes:
        # On a bucket these are two requests, of the size and of so many bytes: a file that is replaced in between comes
        # as the first bytes of the new one. The lease is replaced often, so its reader tries again (`PlainDocument`).
        with self.filesystem.open_input_stream(path) as stream:
            return bytes(stream.read())

    def _ask(self, name: str) -> None:
        if guard := _GUARDS.get(self.path):
            guard.check(name)

    def _put(self, name: str, data: bytes) -> None:
        self._ask(name)  # before each try: they may take long
        if (guard := _GUARDS.get(self.path)) and guard.put:
            guard.put(name, data)
            return
        with self.filesystem.open_output_stream(self.full(name)) as stream:
            stream.write(data)

    @staticmethod
    def _write_local(target: Path, data: bytes) -> None:
        make_directory(target.parent)
        draft = target.parent / f"{TMP_PREFIX}{uuid.uuid4().hex}"
        try:
            with draft.open("xb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            # Same directory as the target: a rename across file systems is a copy, which is not atomic.
            draft.replace(target)
        except OSError as error:
            error.filename = error.filename or str(target)  # a full disk says so on write(), which knows no name
            raise
        finally:
            draft.unlink(missing_ok=True)
        sync(target.parent)


def _delete_local(path: Path) -> None:
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return
    sync(path.parent)


@dataclass(frozen=True, slots=True)
class WriteGuard:
    """What stands between this process and a folder on an object store."""

    check: Callable[[str], None]
    """Asked with a file's name before it is written or deleted; what it raises prevents that."""
    put: Callable[[str, bytes], None] | None = None
    """Writes a file in place of an unconditional PUT."""


_GUARDS: dict[str, WriteGuard] = {}
"""By the path of a folder on an object store."""


@contextmanager
def guarded_writes(folder: Folder, guard: WriteGuard) -> Iterator[None]:
    """Let the guard see to all that this process writes to a folder."""
    before = _GUARDS.get(folder.path)
    _GUARDS[folder.path] = guard
    try:
        yield
    finally:
        del _GUARDS[folder.path]
        if before:
            _GUARDS[folder.path] = before

"""Where an INPUT argument points: a file, a directory or a glob, on disk or in a bucket."""

import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final, Literal
from urllib.parse import quote, urlsplit

import pyarrow as pa
from pyarrow import fs as pafs

from capfilt.core.errors import InputError
from capfilt.core.storage import split_url, without_secrets
from capfilt.pipelines.readers.files import is_local, reason_of

_LOCAL_MAGIC: Final = re.compile(r"[*?\[]")
_URL_MAGIC: Final = re.compile(r"[*\[]")  # `?` opens the query of a URL


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that was found."""

    path: str  # on the file system
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Place:
    """An INPUT argument, opened."""

    argument: str
    kind: Literal["file", "directory", "glob"]
    filesystem: pafs.FileSystem
    base: str  # path of the argument, or of the part before its first wildcard
    entries: tuple[Entry, ...]  # sorted by path

    def location(self, path: str) -> str:
        """The absolute path or URL of a path on the file system."""
        if is_local(self.filesystem):
            return path
        url = urlsplit(self.argument)
        has_bucket = path == url.netloc or path.startswith(url.netloc + "/")
        inside = path if has_bucket else url.netloc + "/" + path.lstrip("/")
        return f"{url.scheme}://{quote(inside)}" + (f"?{url.query}" if url.query else "")

    def identity(self, path: str) -> str:
        """The path relative to the parent of `base`: the same wherever the folder is moved."""
        return posixpath.relpath(path, posixpath.dirname(self.base) or ".") if path != "/" else path


def open_place(argument: str) -> Place:
    """Find the files of an argument: hidden ones (and what is in hidden folders) are left out.

    Raises:
        InputError: nothing is there, nothing matches, it cannot be listed, or a URL holds a key.
    """
    try:
        return _open(argument)
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{without_secrets(argument)}: {reason_of(error)}") from error


def list_names(filesystem: pafs.FileSystem, folder: str) -> set[str]:
    """The names of everything right in a folder."""
    return {_path_of(info).rpartition("/")[2] for info in _list(filesystem, folder)}


def _open(argument: str) -> Place:
    base, pattern = _split_glob(argument)
    if "://" in argument and pattern:  # a URL with brackets cannot even be asked for
        return _matching(argument, base, pattern)
    filesystem, path = _root(argument)
    info = filesystem.get_file_info(path)
    if info.type == pafs.FileType.File:
        return Place(argument, "file", filesystem, path, (Entry(path, info.size or 0),))
    if info.type == pafs.FileType.Directory:
        entries = tuple(sorted(_walk(filesystem, path), key=lambda entry: entry.path))
        if not entries:
            raise InputError(f"{argument}: the folder is empty")
        return Place(argument, "directory", filesystem, path, entries)
    if not pattern:
        raise InputError(f"{argument}: no such file or folder")
    return _matching(argument, base, pattern)


def _matching(argument: str, base: str, pattern: list[str]) -> Place:
    filesystem, path = _root(base)
    found = {entry.path: entry for entry in _glob(filesystem, path, pattern)}
    if not found:
        raise InputError(f"{argument}: no file matches")
    return Place(argument, "glob", filesystem, path, tuple(found[name] for name in sorted(found)))


def _root(argument: str) -> tuple[pafs.FileSystem, str]:
    """File system and path; a local path keeps its own name where it is a link, for its extension counts."""
    filesystem, path = split_url(argument)
    if "://" not in argument:
        path = os.path.abspath(os.path.expanduser(argument))
    return filesystem, path.rstrip("/") or path


def _split_glob(argument: str) -> tuple[str, list[str]]:
    """The part before the first wildcard, and the segments from there on; no segments if there is no wildcard."""
    is_url = "://" in argument
    body, mark, query = argument.partition("?") if is_url else (argument, "", "")
    magic = (_URL_MAGIC if is_url else _LOCAL_MAGIC).search(body)
    if magic is None:
        return argument, []
    cut = body.rfind("/", 0, magic.start())
    base = body[:cut] if cut > 0 else ("/" if cut == 0 else ".")
    return base + mark + query, [segment for segment in body[cut + 1 :].split("/") if segment]


def _glob(filesystem: pafs.FileSystem, directory: str, pattern: list[str]) -> Iterator[Entry]:
    """Files that match; a directory that matches as a whole gives everything in it. `**` is any depth."""
    head, rest = pattern[0], pattern[1:]
    if head == "**" and rest:
        yield from _glob(filesystem, directory, rest)
    for info in _list(filesystem, directory):
        path = _path_of(info)
        name = path.rpartition("/")[2]
        is_directory = info.type == pafs.FileType.Directory
        if is_directory and head == "**" and not name.startswith("."):
            yield from _glob(filesystem, path, pattern)
        elif not fnmatchcase(name, head) or (name.startswith(".") and not head.startswith(".")):
            continue
        elif is_directory:
            yield from _glob(filesystem, path, rest) if rest else _walk(filesystem, path)
        elif not rest and info.type != pafs.FileType.Unknown:
            yield Entry(path, info.size or 0)


def _walk(filesystem: pafs.FileSystem, directory: str) -> Iterator[Entry]:
    """Every file under a directory. Links to directories are followed, but each directory is entered once."""
    waiting, seen = [directory], set()
    while waiting:
        current = waiting.pop()
        real = os.path.realpath(current) if is_local(filesystem) else current
        if real in seen:
            continue
        seen.add(real)
        for info in _list(filesystem, current):
            path = _path_of(info)
            name = path.rpartition("/")[2]
            if name.startswith(".") or name == "__MACOSX":
                continue
            if info.type == pafs.FileType.Directory:
                waiting.append(path)
            elif info.type != pafs.FileType.Unknown:  # a pipe or a socket
                yield Entry(path, info.size or 0)


def _list(filesystem: pafs.FileSystem, directory: str) -> list[pafs.FileInfo]:
    return list(filesystem.get_file_info(pafs.FileSelector(directory, allow_not_found=True)))


def _path_of(info: pafs.FileInfo) -> str:
    """The path; pyarrow cannot say one that is not UTF-8, so that one is escaped (and its row will be missing_file)."""
    try:
        return str(info.path)
    except UnicodeDecodeError as error:
        return bytes(error.object).decode("utf-8", "backslashreplace")

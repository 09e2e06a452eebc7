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
from capfilt.pipelines.readers.files.failures import reason_of
from capfilt.pipelines.readers.files.links import is_inside, real_root
from capfilt.pipelines.readers.files.open import is_local

_LOCAL_MAGIC: Final = re.compile(r"[*?\[]")
_URL_MAGIC: Final = re.compile(r"[*\[]")  # `?` opens the query of a URL


@dataclass(frozen=True, slots=True)
class Entry:
    """A file that was found."""

    path: str  # on the file system
    size: int  # bytes
    leaves: bool = False  # a link out of the folder of the argument


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


# `{a,b}` or `{1..3}`, inside of one name of a path.
_BRACES: Final = re.compile(r"\{([^{}/]*(?:,|\.\.)[^{}/]*)\}")
_RANGE: Final = re.compile(r"(\d+)\.\.(\d+)")
_MAX_BRACES: Final = 100_000  # names of one argument; more is a slip of the keyboard


def expanded(argument: str) -> list[str]:
    """The arguments that braces stand for: `{00000..00012}.tar` and `{train,val}.csv`, as shells and webdataset do it.

    Raises:
        InputError: they stand for absurdly many.
    """
    found = _BRACES.search(argument)
    if found is None or ("://" not in argument and os.path.lexists(os.path.expanduser(argument))):
        return [argument]
    # A name that is there is meant as it stands, braces and all.
    numbers = _RANGE.fullmatch(found[1])
    if numbers is None and ".." in found[1] and "," not in found[1]:
        return [argument]
    begin, end = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if abs(end - begin) >= _MAX_BRACES:
        raise InputError(f"{argument}: its braces expand to more than {_MAX_BRACES} files")
    width = len(numbers[1]) if numbers and numbers[1].startswith("0") else 0
    step = 1 if end >= begin else -1
    words = [f"{number:0{width}d}" for number in range(begin, end + step, step)] if numbers else found[1].split(",")
    return [one for word in words for one in expanded(argument[: found.start()] + word + argument[found.end() :])]


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


def list_paths(filesystem: pafs.FileSystem, folder: str, depth: int) -> list[str]:
    """The paths of the files in a folder and, with a depth above 1, in its folders; hidden ones left out."""
    found: list[str] = []
    for info in _list(filesystem, folder):
        path = _path_of(info)
        if path.rpartition("/")[2].startswith("."):
            continue
        if info.type == pafs.FileType.File:
            found.append(path)
        elif info.type == pafs.FileType.Directory and depth > 1:
            found += list_paths(filesystem, path, depth - 1)
    return found


def _open(argument: str) -> Place:
    base, pattern = _split_glob(argument)
    if "://" in argument and pattern:  # a URL with brackets cannot even be asked for
        return _matching(argument, base, pattern)
    filesystem, path = _root(argument)
    info = filesystem.get_file_info(path)
    if info.type == pafs.FileType.File:
        return Place(argument, "file", filesystem, path, (Entry(path, info.size or 0),))
    if info.type == pafs.FileType.Directory:
        entries = tuple(sorted(_walk(filesystem, path, path), key=lambda entry: entry.path))
        if not entries:
            raise InputError(f"{argument}: the folder is empty")
        return Place(argument, "directory", filesystem, path, entries)
    if not pattern:
        raise InputError(f"{argument}: no such file or folder")
    return _matching(argument, base, pattern)


def _matching(argument: str, base: str, pattern: list[str]) -> Place:
    filesystem, path = _root(base)
    found = {entry.path: entry for entry in _glob(filesystem, path, pattern, path)}
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


def _glob(filesystem: pafs.FileSystem, directory: str, pattern: list[str], root: str) -> Iterator[Entry]:
    """Files that match; a directory that matches as a whole gives everything in it. `**` is any depth."""
    head, rest = pattern[0], pattern[1:]
    if head == "**" and rest:
        yield from _glob(filesystem, directory, rest, root)
    for info in _list(filesystem, directory):
        path = _path_of(info)
        name = path.rpartition("/")[2]
        is_directory = info.type == pafs.FileType.Directory and not _leaves(filesystem, path, root)
        if is_directory and head == "**" and not name.startswith("."):
            yield from _glob(filesystem, path, pattern, root)
        elif not fnmatchcase(name, head) or (name.startswith(".") and not head.startswith(".")):
            continue
        elif is_directory:
            yield from _glob(filesystem, path, rest, root) if rest else _walk(filesystem, path, root)
        elif not rest:
            yield from _entry(filesystem, info, root)


def _walk(filesystem: pafs.FileSystem, directory: str, root: str) -> Iterator[Entry]:
    """Every file under a directory. Links to directories are followed inside `root`, each directory is entered once."""
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
            # __MACOSX: archives made on a Mac hold a file there for each image, of its name, which is no image.
            if name.startswith(".") or name == "__MACOSX":
                continue
            if info.type == pafs.FileType.Directory and not _leaves(filesystem, path, root):
                waiting.append(path)
            else:
                yield from _entry(filesystem, info, root)


def _entry(filesystem: pafs.FileSystem, info: pafs.FileInfo, root: str) -> Iterator[Entry]:
    path = _path_of(info)
    if _leaves(filesystem, path, root):
        yield Entry(path, 0, leaves=True)
    elif info.type in (
        pafs.FileType.File,
        pafs.FileType.NotFound,
    ):  # the latter is a link to nowhere; no pipe or socket
        yield Entry(path, info.size or 0)


def _leaves(filesystem: pafs.FileSystem, path: str, root: str) -> bool:
    return is_local(filesystem) and os.path.islink(path) and not is_inside(path, real_root(root))


def _list(filesystem: pafs.FileSystem, directory: str) -> list[pafs.FileInfo]:
    return list(filesystem.get_file_info(pafs.FileSelector(directory, allow_not_found=True)))


def _path_of(info: pafs.FileInfo) -> str:
    """The path; pyarrow cannot say one that is not UTF-8, so that one is escaped (and its row will be missing_file)."""
    try:
        return str(info.path)
    except UnicodeDecodeError as error:
        return bytes(error.object).decode("utf-8", "backslashreplace")

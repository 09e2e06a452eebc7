"""Plan: sorted input files, cut into chunks before any work starts."""

import hashlib
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final

import pyarrow as pa

from capfilt.core import config
from capfilt.core.chunks import Chunk, Part
from capfilt.core.errors import ChangedError, ConfigError, InputError
from capfilt.core.storage import split_url, without_secrets
from capfilt.pipelines.readers import reader_named
from capfilt.pipelines.readers.discovery.discover import find
from capfilt.pipelines.readers.files.failures import NotAnInput
from capfilt.pipelines.readers.files.pictures import Neighbours
from capfilt.pipelines.readers.folder.folder import FolderReader
from capfilt.pipelines.readers.folder.samples import MAX_TEXT_BYTES
from capfilt.pipelines.readers.rows.reader import BrokenReader, InputFile, broken_part

WHOLE: Final = 64_000_000
"""Bytes up to which a file's digest covers all of it; beyond, only its size and three blocks."""

_BLOCK: Final = 1 << 20  # bytes
_THREADS: Final = 8  # files whose digests are taken at once


@dataclass(frozen=True, slots=True)
class InputDigest:
    """What an input file was when the plan was made."""

    identity: str
    size: int  # bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All chunks of a run. Equal inputs and settings give an equal plan, wherever the input lies."""

    chunks: tuple[Chunk, ...]
    inputs: tuple[InputDigest, ...]
    notes: tuple[str, ...]  # what was left out of directories, and why; a line each

    @property
    def rows(self) -> int:
        return sum(chunk.rows for chunk in self.chunks)


@dataclass(frozen=True)
class KnownInputs:
    """The input files that a run has already."""

    facts: Mapping[str, tuple[int, str]]  # size and digest, by identity
    parts: Sequence[Part]  # of the run's chunks

    @cached_property
    def names(self) -> dict[str, str]:
        """The identity of each file by its location: what a file is called depends on the other arguments too."""
        return {part.file: part.identity for part in self.parts}

    @cached_property
    def contents(self) -> set[tuple[int, str]]:
        """Size and digest of the files; an empty one says nothing."""
        found = {self.facts[name] for name in self.names.values() if name in self.facts}
        return {(size, sha256) for size, sha256 in found if size}

    @cached_property
    def pictures(self) -> set[str]:
        """Locations of the images that came from folders."""
        folders = (part for part in self.parts if part.reader == FolderReader.name)
        return {_inside(part.file, name) for part in folders for name in FolderReader().keys(part) if name}


def find_inputs(inputs: Sequence[str], settings: config.InputSettings | None = None) -> list[InputFile]:
    """The input files that files, directories and globs come to, sorted by identity; see `discover.find`."""
    return list(find(inputs, settings or config.InputSettings()).files)


def make_plan(
    inputs: Sequence[str],
    settings: config.InputSettings,
    limit: int | None = None,
    *,
    known: KnownInputs | None = None,
    first: int = 0,
    quiet: float = 0.0,
) -> Plan:
    """Cut the first `limit` rows of the inputs (all by default) into chunks.

    Args:
        known: files that a run has already; they are left out, and counted.
        first: number of the first chunk.
        quiet: seconds for which a file must not have changed, or it is left for a later plan: somebody may still be
            writing it, and a file that is cut off would be taken for a broken one.

    Raises:
        ChangedError: a file has the name or place of a known one, and other contents, or shares images with one.
        InputError: an input is missing, of no known kind, unreadable or empty.
        ConfigError: a column is not there, or cannot be guessed; the message names the setting.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit = {limit}: must be at least 1")
    found = find(inputs, settings)
    files, notes = _without_known(found.files, known) if known else (found.files, [])
    if quiet:
        files, waiting = _settled(files, quiet)
        notes += waiting
    if not files:
        return Plan((), (), (*found.notes, *notes))
    new = {file.location for file in files}
    tally = Tally(files, {file.origin for file in found.files if file.location not in new})
    parts = list(first_rows(tally.parts(settings), limit))
    tally.check(complete=limit is None or sum(part.rows for part in parts) < limit)
    used = {part.file for part in parts}
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = pool.map(digest, (file for file in files if file.location in used))
        flat = tuple(one for several in digests for one in several)
    return Plan(tuple(packed(parts, settings, first)), flat, (*found.notes, *tally.notes, *notes))


def _without_known(files: Sequence[InputFile], known: KnownInputs) -> tuple[list[InputFile], list[str]]:
    """The files that are new, and a note that counts the others."""
    files = [replace(file, identity=known.names.get(file.location, file.identity)) for file in files]
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = list(pool.map(digest, files))
    new = [file for file, several in zip(files, digests, strict=True) if not _is_known(file, several, known)]
    count = len(files) - len(new)
    return new, [f"{count} of {len(files)} inputs: the run has them already"] if count else []


def _settled(files: Sequence[InputFile], quiet: float) -> tuple[list[InputFile], list[str]]:
    """The files that have not changed for `quiet` seconds, and a note that counts the others."""
    latest = time.time() - quiet

    def is_settled(file: InputFile) -> bool:
        infos = [
            filesystem.get_file_info(path)
            for filesystem, path in map(split_url, filter(None, (file.location, file.sidecar)))
        ]
        return all(info.mtime_ns is None or info.mtime_ns / 1e9 <= latest for info in infos)

    with ThreadPoolExecutor(_THREADS) as pool:
        settled = [file for file, ready in zip(files, pool.map(is_settled, files), strict=True) if ready]
    count = len(files) - len(settled)
    return settled, [f"{count} new inputs: changed in the last {quiet:g} s, left for the next look"] if count else []


def _is_known(file: InputFile, digests: Sequence[InputDigest], known: KnownInputs) -> bool:
    """Whether the run has this file, under whatever name.

    A row is known by the file it came from, its place there and its URL. So a file of a known name must be the same
    file: of another one, rows would be taken for those that are there. And the same file under another name, as it has
    beside other arguments, would give the rows of the first one once more.
    """
    shown = without_secrets(file.location)
    facts = [(one.size, one.sha256) for one in digests]
    if file.identity in known.facts:
        is_same = facts == [known.facts.get(one.identity) for one in digests]
    elif facts[0] in known.contents:
        is_same = set(facts) <= set(known.facts.values())
    elif twice := known.pictures & {_inside(file.location, picture.name) for picture in file.pictures}:
        raise ChangedError(f"{shown}: the run has {min(twice)} already, from another folder: give new images alone")
    else:
        return False
    if not is_same:
        raise ChangedError(
            f"{shown}: the run has a file {file.identity!r} with other contents: "
            "give the new rows in a file of another name"
        )
    return True


def _inside(folder: str, name: str) -> str:
    return f"{without_secrets(folder)}/{name}"


def digest(file: InputFile) -> list[InputDigest]:
    """What `file` is now, and its sidecar, if it has one; of a folder of images all of them together."""
    if file.pictures:
        return [_folder_digest(file)]
    digests = [_file_digest(file.location, file.identity)]
    if file.sidecar:
        suffix = file.sidecar.partition("?")[0].rpartition(".")[2]
        digests.append(_file_digest(file.sidecar, f"{file.identity.removesuffix('.tar')}.{suffix}"))
    return digests


class Tally:
    """Counts what each file gives, to tell a mistake of the user from bad data.

    Args:
        served: arguments of which a run has files already; there is no mistake in these.
    """

    def __init__(self, files: Sequence[InputFile], served: Collection[str] = ()) -> None:
        self.files = files
        self.served = served
        self.good: dict[str, int] = {}  # rows that can be read, by location
        self.damage: dict[str, str] = {}
        self.notes: list[str] = []  # files that turn out to hold no images

    def parts(self, settings: config.InputSettings) -> Iterator[Part]:
        """The parts of all files in order.

        Raises:
            InputError: a file that was given by name cannot be read, or holds nothing.
        """
        for file in self.files:
            self.good[file.location] = 0
            for part in self._of(file, settings):
                if part.reader != BrokenReader.name:
                    self.good[file.location] += part.rows
                yield part
            if file.named and not self.good[file.location]:
                raise InputError(f"{file.location}: it has no rows")

    def check(self, complete: bool) -> None:
        """Refuse arguments that give no row at all.

        Raises:
            InputError: names the first such argument.
        """
        if any(self.good.values()) and not complete:
            return
        for file in self.files:
            if file.origin in self.served:
                continue
            if not any(self.good.get(other.location, 0) for other in self.files if other.origin == file.origin):
                raise InputError(f"{file.origin}: {self.damage.get(file.location, 'it has no rows')}")

    def _of(self, file: InputFile, settings: config.InputSettings) -> Iterator[Part]:
        try:
            yield from reader_named(file.reader, settings.memory).parts(file, settings)
        except NotAnInput as error:
            if file.named:
                raise
            why = self.damage[file.location] = str(error).removeprefix(f"{file.location}: ")
            self.notes.append(f"{without_secrets(file.origin)}: 1 left out, {why}: {file.identity}")
        except InputError as error:
            if file.named:
                raise
            detail = str(error).removeprefix(f"{file.location}: ")
            self.damage[file.location] = detail
            yield broken_part(file, 0, detail)


def first_rows(parts: Iterator[Part], limit: int | None) -> Iterator[Part]:
    """The parts of the first `limit` rows (all by default), the last one cut."""
    left = limit
    for part in parts:
        if left is not None:
            part = replace(part, rows=min(part.rows, left))
            left -= part.rows
        yield part
        if left == 0:
            return


def packed(parts: Sequence[Part], settings: config.InputSettings, first: int = 0) -> Iterator[Chunk]:
    """Whole parts, put together as long as they stay within chunk_rows and chunk_bytes."""
    waiting: list[Part] = []
    number, rows, size = first, 0, 0
    for part in parts:
        part_size = _bytes(part)
        if waiting and (rows + part.rows > settings.chunk_rows or size + part_size > settings.chunk_bytes):
            yield Chunk(f"{number:06d}", tuple(waiting))
            number, waiting, rows, size = number + 1, [], 0, 0
        waiting.append(part)
        rows, size = rows + part.rows, size + part_size
    if waiting:
        yield Chunk(f"{number:06d}", tuple(waiting))


def _bytes(part: Part) -> int:
    size: Any = part.where.get("bytes", 0)
    return int(size)


def _file_digest(location: str, identity: str) -> InputDigest:
    filesystem, path = split_url(location)
    try:
        with filesystem.open_input_file(path) as stream:
            size = int(stream.size())
            return InputDigest(identity, size, _content_digest(stream, size))
    except FileNotFoundError:  # a dangling link in a directory; the row that stands for it says so
        return InputDigest(identity, 0, "missing")


def _content_digest(stream: pa.NativeFile, size: int) -> str:
    sha = hashlib.sha256(str(size).encode() if size > WHOLE else b"")
    for begin in range(0, size, _BLOCK) if size <= WHOLE else (0, size // 2, max(size - _BLOCK, 0)):
        stream.seek(begin)
        sha.update(stream.read(_BLOCK))
    return sha.hexdigest()


def _folder_digest(file: InputFile) -> InputDigest:
    """Names and sizes, and the bytes too where they are few."""
    folder = Neighbours(file.location)
    size = sum(picture.size for picture in file.pictures)
    sha = hashlib.sha256()
    for picture in file.pictures:
        sha.update(f"{picture.name}\0{picture.size}\0{' '.join(picture.texts)}\0".encode())
        if size > WHOLE:
            continue
        for content in [*folder.read_all([picture.name]), *folder.read_all(picture.texts, MAX_TEXT_BYTES)]:
            sha.update(content if isinstance(content, bytes) else b"")
    return InputDigest(file.identity, size, sha.hexdigest())

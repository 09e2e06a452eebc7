"""Which inputs are new to a run that is appended to, and may be read already."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final

from capfilt.core.chunks import Part
from capfilt.core.errors import ChangedError
from capfilt.core.storage import split_url, without_secrets
from capfilt.pipelines.input_digest import InputDigest, digest
from capfilt.pipelines.readers.folder.folder import FolderReader
from capfilt.pipelines.readers.rows.reader import InputFile

_THREADS: Final = 8  # files that are looked at side by side


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


def without_known(files: Sequence[InputFile], known: KnownInputs) -> tuple[list[InputFile], list[str]]:
    """The files that are new, and a note that counts the others."""
    files = [replace(file, identity=known.names.get(file.location, file.identity)) for file in files]
    with ThreadPoolExecutor(_THREADS) as pool:
        digests = list(pool.map(digest, files))
    new = [file for file, several in zip(files, digests, strict=True) if not _is_known(file, several, known)]
    count = len(files) - len(new)
    return new, [f"{count} of {len(files)} inputs: the run has them already"] if count else []


def settled(files: Sequence[InputFile], quiet: float) -> tuple[list[InputFile], list[str]]:
    """The files that have not changed for `quiet` seconds, and a note that counts the others."""
    latest = time.time() - quiet

    def is_settled(file: InputFile) -> bool:
        infos = [
            filesystem.get_file_info(path)
            for filesystem, path in map(split_url, filter(None, (file.location, file.sidecar)))
        ]
        return all(info.mtime_ns is None or info.mtime_ns / 1e9 <= latest for info in infos)

    with ThreadPoolExecutor(_THREADS) as pool:
        quiet_ones = [file for file, ready in zip(files, pool.map(is_settled, files), strict=True) if ready]
    count = len(files) - len(quiet_ones)
    note = f"{count} of {len(files)} new inputs: changed in the last {quiet:g} s, left for the next look"
    return quiet_ones, [note] if count else []


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

"""Plan: sorted input files, cut into chunks before any work starts."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Final

from capfilt.core import config
from capfilt.core.chunks import Chunk, Part
from capfilt.core.errors import ConfigError, InputError
from capfilt.core.storage import without_secrets
from capfilt.pipelines.input_digest import InputDigest, digest
from capfilt.pipelines.known_inputs import KnownInputs, settled, without_known
from capfilt.pipelines.readers import reader_named
from capfilt.pipelines.readers.discovery.discover import find
from capfilt.pipelines.readers.files.failures import NotAnInput
from capfilt.pipelines.readers.rows.reader import BrokenReader, InputFile, broken_part

_THREADS: Final = 8  # files whose digests are taken at once


@dataclass(frozen=True, slots=True)
class Plan:
    """All chunks of a run. Equal inputs and settings give an equal plan, wherever the input lies."""

    chunks: tuple[Chunk, ...]
    inputs: tuple[InputDigest, ...]
    notes: tuple[str, ...]  # what was left out of directories, and why; a line each

    @property
    def rows(self) -> int:
        return sum(chunk.rows for chunk in self.chunks)


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
    files, notes = without_known(found.files, known) if known else (found.files, [])
    if quiet:
        files, waiting = settled(files, quiet)
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

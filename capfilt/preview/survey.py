"""What the inputs of a run are: files by kind, what their readers chose and why, how many rows, and some of these."""

import heapq
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from capfilt.core.chunks import Part
from capfilt.core.config import InputSettings
from capfilt.core.errors import UserError
from capfilt.core.storage import without_secrets
from capfilt.pipelines.plan import Tally, first_rows
from capfilt.pipelines.readers import reader_named
from capfilt.pipelines.readers.discovery.discover import find
from capfilt.pipelines.readers.rows.choices import Choice
from capfilt.pipelines.readers.rows.reader import BrokenReader, InputFile

COUNTED: Final = 32
"""Files of one reader whose rows are counted, spread over all; the rows of the others are estimated by their bytes."""

LOOKED_INTO: Final = 8
"""Files of one reader that are asked what was chosen in them."""

BLOCK: Final = 16
"""Rows that are planned together. A picked row is one of the first of its block, so that it is cheap to read."""


@dataclass(frozen=True, slots=True)
class KindOfFile:
    """The files that one reader reads."""

    reader: str
    files: int
    bytes: int
    rows: int
    counted: int  # files whose rows were counted; of the others they are estimated


@dataclass(frozen=True, slots=True)
class AlikeFiles:
    """Files in which their reader chose the same."""

    reader: str
    files: tuple[str, ...]  # identities of those that were looked into
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """What the inputs are."""

    kinds: tuple[KindOfFile, ...]
    alike: tuple[AlikeFiles, ...]
    left_out: tuple[str, ...]  # which files are not read, and why; a line each
    damaged: tuple[str, ...]  # which files break off, and how; a line each
    first: tuple[Part, ...]  # the first rows of the first file of each reader
    picked: tuple[Part, ...]  # rows from all over the inputs, in their order

    @property
    def rows(self) -> int:
        return sum(kind.rows for kind in self.kinds)

    @property
    def is_exact(self) -> bool:
        """Whether all rows were counted."""
        return all(kind.counted == kind.files for kind in self.kinds)


def survey(
    inputs: Sequence[str], settings: InputSettings, picks: int, *, limit: int | None = None, seed: int = 0
) -> Survey:
    """Look at the inputs as a run would plan them.

    Args:
        picks: rows to pick from all over the inputs, or all of them if there are fewer.
        limit: see `make_plan`; with a limit files are counted in their order.
        seed: of the choice of rows.

    Raises:
        InputError, ConfigError: as `make_plan`.
    """
    found = find(inputs, settings)
    counted = [file for files in _by_reader(found.files).values() for file in (files if limit else _spread(files))]
    tally = Tally(sorted(counted, key=lambda file: file.identity))
    blocks, rows, damaged = _Reservoir(picks, seed), Counter[str](), []
    first: dict[str, Part] = {}
    small = settings.model_copy(update={"chunk_rows": min(BLOCK, settings.chunk_rows)})
    for part in first_rows(tally.parts(small), limit):
        rows[part.identity] += part.rows
        blocks.add(part)
        first.setdefault(part.reader, part)
        if part.reader == BrokenReader.name:
            damaged.append(f"{without_secrets(part.file)}: {part.where['detail']}")
    tally.check(complete=limit is None or rows.total() < limit)
    asked = {file.identity for file in counted}
    read = [file for file in found.files if rows[file.identity] or file.identity not in asked]
    kinds = tuple(_kind(reader, files, rows) for reader, files in _by_reader(read).items())
    alike = _alike([file for file in counted if rows[file.identity]], settings)
    notes, picked = (*found.notes, *tally.notes), _rows_of(blocks.kept(), picks)
    return Survey(kinds, alike, notes, tuple(damaged), tuple(first.values()), picked)


def spread(parts: Sequence[Part], rows: int) -> tuple[Part, ...]:
    """At most `rows` rows of parts, from as many parts as there are, evenly spread."""
    step = max(len(parts) / max(rows, 1), 1)
    return _rows_of([parts[int(at * step)] for at in range(min(rows, len(parts)))], rows)


class _Reservoir:
    """Keeps some of many parts, each with a chance that grows with its rows (Efraimidis and Spirakis, A-Res)."""

    def __init__(self, size: int, seed: int) -> None:
        self._size, self._random = size, random.Random(seed)
        self._seen = 0
        self._kept: list[tuple[float, int, Part]] = []  # a heap of (key, number, part)

    def add(self, part: Part) -> None:
        one = (self._random.random() ** (1 / part.rows), self._seen, part)
        (heapq.heappush if len(self._kept) < self._size else heapq.heappushpop)(self._kept, one)
        self._seen += 1

    def kept(self) -> list[Part]:
        """The kept parts in the order they came in."""
        return [part for _, _, part in sorted(self._kept, key=lambda one: one[1])]


def _rows_of(blocks: Sequence[Part], wanted: int) -> tuple[Part, ...]:
    """The first rows of each block, from each as many as from the others where it has them; `wanted` in all."""
    taken = [0] * len(blocks)
    left = min(wanted, sum(block.rows for block in blocks))
    while left:
        for at, block in enumerate(blocks):
            if left and taken[at] < block.rows:
                taken[at] += 1
                left -= 1
    return tuple(_cut(block, rows) for block, rows in zip(blocks, taken, strict=True) if rows)


def _cut(block: Part, rows: int) -> Part:
    size = cast(int, block.where.get("bytes", 0)) * rows // block.rows
    return replace(block, rows=rows, where=block.where | {"bytes": size})


def _by_reader(files: Iterable[InputFile]) -> dict[str, list[InputFile]]:
    found: defaultdict[str, list[InputFile]] = defaultdict(list)
    for file in files:
        found[file.reader].append(file)
    return found


def _spread(files: list[InputFile]) -> list[InputFile]:
    """Those to count: all, or `COUNTED` of them from the first to the last."""
    if len(files) <= COUNTED:
        return files
    return [files[at * (len(files) - 1) // (COUNTED - 1)] for at in range(COUNTED)]


def _kind(reader: str, files: list[InputFile], rows: Counter[str]) -> KindOfFile:
    counted = [file for file in files if rows[file.identity]]
    size, counted_size = sum(file.size for file in files), sum(file.size for file in counted)
    known = sum(rows[file.identity] for file in counted)
    whole = known if len(counted) == len(files) else round(known * size / max(counted_size, 1))
    return KindOfFile(reader, len(files), size, whole, len(counted))


def _alike(files: list[InputFile], settings: InputSettings) -> tuple[AlikeFiles, ...]:
    groups: defaultdict[tuple[str, tuple[Choice, ...]], list[str]] = defaultdict(list)
    for reader, own in _by_reader(files).items():
        for file in own[:LOOKED_INTO]:
            try:
                groups[reader, tuple(reader_named(reader, settings.memory).choices(file, settings))].append(
                    file.identity
                )
            except UserError:
                continue  # it is damaged, and is named with those that are
    return tuple(AlikeFiles(reader, tuple(names), choices) for (reader, choices), names in groups.items())

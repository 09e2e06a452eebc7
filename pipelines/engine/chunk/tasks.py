"""What is to be done with a chunk: who gives its rows, and who writes what the models made of them.

The stages between these two are the same for all. A task travels to workers, so it is plain data; what it calls is
imported there, where it is called.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa

from capfilt.core.chunks import Chunk
from capfilt.core.config import Recipe
from capfilt.core.storage import Folder
from capfilt.pipelines.stages.micro_batches import AroundDeaths


class ChunkTask(Protocol):
    """A kind of work on chunks."""

    def rows(
        self, chunk: Chunk, folder: Folder, recipe: Recipe, reading: AroundDeaths, fetching: AroundDeaths
    ) -> pa.Table:
        """`schema.ROWS` of the chunk, with images in those that are to be worked on; further columns are kept."""
        ...

    def write(self, rows: pa.Table, chunk: Chunk, folder: Folder, digest: str, recipe: Recipe) -> pa.Table:
        """Write what came of it; one row that says so, with at least `rows` and `reasons`."""
        ...


@dataclass(frozen=True, slots=True)
class NewChunk:
    """The chunk is read from its inputs and committed."""

    def rows(
        self, chunk: Chunk, folder: Folder, recipe: Recipe, reading: AroundDeaths, fetching: AroundDeaths
    ) -> pa.Table:
        from capfilt.pipelines.stages.fetch import fetch
        from capfilt.pipelines.stages.read import read
        from capfilt.pipelines.stages.tombstones import Tombstones

        # Before the downloads: no server is asked for what was forgotten.
        rows = Tombstones.of(folder).apply(read(chunk, recipe.input.memory, reading))
        return fetch(rows, recipe.fetch, fetching)

    def write(self, rows: pa.Table, chunk: Chunk, folder: Folder, digest: str, recipe: Recipe) -> pa.Table:
        from capfilt.pipelines.stages.commit import commit

        return commit(rows, chunk, folder, digest, recipe.output)


NEW: Final = NewChunk()


@dataclass(frozen=True, slots=True)
class RetryRows:
    """Rows of a committed chunk are fetched again; a transaction is left for the caller to `replay_pending`."""

    reasons: Collection[str]  # that they failed for

    def rows(
        self, chunk: Chunk, folder: Folder, recipe: Recipe, reading: AroundDeaths, fetching: AroundDeaths
    ) -> pa.Table:
        from capfilt.pipelines.stages.fetch import fetch
        from capfilt.pipelines.stages.read import read
        from capfilt.pipelines.stages.retry_rows import reopen

        rows = reopen(chunk, folder, self.reasons, read(chunk, recipe.input.memory, reading))
        return fetch(rows, recipe.fetch, fetching)

    def write(self, rows: pa.Table, chunk: Chunk, folder: Folder, digest: str, recipe: Recipe) -> pa.Table:
        from capfilt.pipelines.stages.retry_rows import recommit

        return recommit(rows, chunk, folder, digest, recipe.output)


@dataclass(frozen=True, slots=True)
class Annotate:
    """The stored images of a committed chunk are captioned, or their texts judged; a layer gets what is said."""

    layer: str  # its label

    def rows(
        self, chunk: Chunk, folder: Folder, recipe: Recipe, reading: AroundDeaths, fetching: AroundDeaths
    ) -> pa.Table:
        from capfilt.pipelines.layers.stored_rows import stored_rows

        return stored_rows(chunk.name, folder, self.layer)

    def write(self, rows: pa.Table, chunk: Chunk, folder: Folder, digest: str, recipe: Recipe) -> pa.Table:
        from capfilt.pipelines.layers.layer_rows import commit_layer

        return commit_layer(rows, chunk.name, folder, self.layer, digest)

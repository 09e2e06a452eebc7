"""The main job: chunks through the stages, on the engine that the recipe chooses."""

import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Final

from capfilt.core.config import Recipe
from capfilt.core.errors import ModelError
from capfilt.core.storage import Folder
from capfilt.ledger.locking.lease import held_token
from capfilt.pipelines.engine.chunk.chunk_row import PlannedChunk
from capfilt.pipelines.engine.chunk.outcome import ChunkOutcome
from capfilt.pipelines.engine.chunk.stages import Job
from capfilt.pipelines.engine.chunk.tasks import NEW, ChunkTask
from capfilt.pipelines.stages import stage_models

UNFIT: Final = re.compile(r"(caption|score): ModelError: (?P<why>.*)")
"""The error of one chunk that every other chunk would have too."""

Engine = Callable[[Sequence[PlannedChunk], Job], Generator[ChunkOutcome]]


@contextmanager
def work(
    chunks: Sequence[PlannedChunk], out: str, recipe: Recipe, models: Mapping[str, str], task: ChunkTask = NEW
) -> Iterator[Iterator[ChunkOutcome]]:
    """Take every chunk through fetch, decode, caption, score and commit; gives each as it is committed.

    Models, and a Ray that was started here, are let go when the context ends, wherever the reader stopped.

    Args:
        out: the run's folder.
        models, task: see `Job`.

    Raises:
        ModelError: a model cannot be loaded or does not work; later chunks would fail in the same way.
    """
    folder = Folder.at(out)
    pixels = tuple(stage_models.pixels(recipe))
    job = Job(folder.everywhere, recipe, pixels, models, task, held_token(folder))
    with closing(_engine(recipe.engine.kind)(chunks, job)) as outcomes:
        yield map(_checked, outcomes)


def _checked(outcome: ChunkOutcome) -> ChunkOutcome:
    if unfit := UNFIT.match(outcome.error):
        raise ModelError(unfit["why"])
    return outcome


def _engine(kind: str) -> Engine:
    """Imported where it is chosen: a local run never loads Ray."""
    if kind == "local":
        from capfilt.pipelines.engine.local_engine import work_locally

        return work_locally
    from capfilt.pipelines.engine.ray_engine import work_on_ray

    return work_on_ray

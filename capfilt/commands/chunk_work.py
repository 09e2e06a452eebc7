"""Committed chunks through the stages once more, for a command that changes or adds something."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from capfilt.commands.progress import Listener, RunProgress
from capfilt.commands.work_time import WorkTime
from capfilt.core.config import Recipe
from capfilt.core.errors import RunFailed
from capfilt.core.storage import Folder
from capfilt.pipelines.engine.chunk.chunk_row import PlannedChunk

if TYPE_CHECKING:
    from capfilt.pipelines.engine.chunk.tasks import ChunkTask


def work_through(
    folder: Folder,
    chunks: Sequence[PlannedChunk],
    recipe: Recipe,
    models: Mapping[str, str],
    task: "ChunkTask",
    listener: Listener,
    after_each: Callable[[], object] = lambda: None,
) -> None:
    """Take the chunks through, and tell the listener how far they are.

    Args:
        models, task: see `pipelines.engine.chunk.stages.Job`.
        after_each: called in this process when a chunk is done.

    Raises:
        RunFailed: some chunks failed; all others are done.
    """
    from capfilt.pipelines.engine.engine import work  # here: with nothing to do, no stage is loaded

    sizes = {planned.chunk.name: planned.chunk.rows for planned in chunks}
    total = sum(sizes.values())
    listener(RunProgress("start", 0, total, 0, len(chunks)))
    failed: list[str] = []
    rows_done = 0
    clock = WorkTime()
    with work(chunks, folder.location, recipe, models, task) as outcomes:
        for number, done in enumerate(outcomes, 1):
            after_each()
            rows_done += 0 if done.error else sizes[done.chunk]
            failed += [f"chunk {done.chunk}: {done.error}"] if done.error else []
            counts = (rows_done, total, number - len(failed), len(chunks))
            listener(RunProgress("work", *counts, rows_now=rows_done, working=clock.commit(done.seconds)))
    if failed:
        raise RunFailed(f"{len(failed)} of {len(chunks)} chunks failed; {failed[0]}")

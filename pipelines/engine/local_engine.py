"""Chunks through the stages in this process, one after the other: for debugging, tests and small runs.

A breakpoint in a stage stops where it stands. Images are still decoded in a process of their own. What only Ray gives:
several chunks at once, several nodes, and survival of a model that ends its process.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from capfilt.core.config import Recipe
from capfilt.pipelines.engine.chunk.chunk_row import CHUNK_ROW, PlannedChunk, new_row, run_stages, with_peak_memory
from capfilt.pipelines.engine.chunk.outcome import ChunkOutcome
from capfilt.pipelines.engine.chunk.stages import STAGES, Job, make_stages


def work_locally(chunks: Sequence[PlannedChunk], job: Job) -> Generator[ChunkOutcome]:
    """Yields each chunk as it is committed.

    Raises:
        ModelError: a model cannot be loaded.
    """
    with _threads(job.recipe):
        stages = make_stages(STAGES, job)
        for planned in chunks:
            row = pa.Table.from_pylist([new_row(planned)], CHUNK_ROW)
            yield ChunkOutcome.of(with_peak_memory(run_stages(row, stages), "driver"))


@contextmanager
def _threads(recipe: Recipe) -> Iterator[None]:
    """As many CPU threads as one model actor on this machine would have, for the same last digits of scores.

    A person's OMP_NUM_THREADS counts more than the cores. In Ray's processes it does not: Ray itself sets it there.
    """
    if not (recipe.caption.captioners or recipe.score.judges or recipe.score.image_judges):
        yield  # nothing here needs torch
        return
    import torch

    before = torch.get_num_threads()
    asked = before if "OMP_NUM_THREADS" in os.environ else 0
    torch.set_num_threads(recipe.engine.threads or asked or os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

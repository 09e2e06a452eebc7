"""Which stages of a run work side by side on its engine, here or on its cluster."""

import os
from typing import Final

from capfilt.core.config import Recipe
from capfilt.pipelines.engine.chunk.stages import STAGES
from capfilt.pipelines.engine.resources import LOCAL, fetchers, pools
from capfilt.pipelines.stages import stage_models
from capfilt.preview.estimate import Lane, Workers

_COMPUTING: Final = ("decode", "commit")

RAY_START: Final = 10.0
"""Seconds until Ray and a run's workers are up, which a sample does without. On two cores the demo's first chunk was
committed after 14.6 s, of which planning, models and the chunk itself were some 5 (`make bench-start`, calm)."""


def workers_of(recipe: Recipe, chunks: int) -> Workers:
    """What works at the same time in a run of so many chunks.

    A run of engine.kind = "local" does one thing after the other. On Ray chunks are fetched while others are computed.
    Models on GPUs leave the CPUs to decoding; on CPUs both were timed on all cores, so they take turns on them. Nodes
    of a cluster are taken to be like this machine, one for each model actor.
    """
    cores = os.cpu_count() or 1
    engine = recipe.engine
    has_gpu = uses_gpu(recipe)
    if engine.kind == "local":
        return Workers(((STAGES, 1),), float(has_gpu), cores)
    some = pools(recipe, max(chunks, 1), has_gpu)
    nodes = 1 if engine.address == LOCAL else max(pool.most for pool in some)
    feed: Lane = ("fetch",), (fetchers(engine, cores, chunks) or cores * nodes)
    gpus = sum(pool.most * pool.takes.get("GPU", 0) for pool in some) if has_gpu else 0.0
    lanes: tuple[Lane, ...] = ((tuple(stage for stage in STAGES if stage != "fetch"), nodes),)
    if gpus:
        lanes = ((_COMPUTING, nodes), *((pool.stages, pool.most) for pool in some))
    return Workers((feed, *lanes), gpus, cores * nodes, RAY_START)


def uses_gpu(recipe: Recipe) -> bool:
    """Whether models of the recipe run on a GPU of this machine."""
    if not (recipe.caption.captioners or recipe.score.judges or recipe.score.image_judges):
        return False
    return stage_models.placement(recipe).resolve()[0].startswith("cuda")

"""A run's own Ray does not give way to other programs, unless it is asked to."""

import os

import pytest

from capfilt.core.config import EngineSettings
from capfilt.pipelines.engine.cluster import runtime


@pytest.mark.ray(alone=True)
def test_workers_of_a_ray_started_for_the_run_are_as_nice_as_asked() -> None:
    before = os.nice(0)
    assert EngineSettings().niceness == 0
    with runtime(EngineSettings(niceness=3), cpus=1) as ray:
        niceness = ray.remote(lambda: os.nice(0))
        assert ray.get(niceness.remote()) == before + 3

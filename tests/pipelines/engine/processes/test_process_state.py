"""A Ray started for a run leaves SIGTERM to this process, while it runs and after, and is as nice as asked."""

import os
import subprocess
import sys

import pytest

from capfilt.core.config import EngineSettings

SCRIPT = """
import os, ray, signal
from capfilt.core.config import EngineSettings
from capfilt.pipelines.engine.cluster import runtime
from capfilt.pipelines.engine.process_state import sigterm_waits
signal.signal(signal.SIGTERM, lambda *_: print("asked"))
with runtime(EngineSettings(niceness=3), cpus=1):
    print("started")
    signal.raise_signal(signal.SIGTERM)
    print("nice", ray.get(ray.remote(lambda: os.nice(0)).remote()))
print("ended")
signal.raise_signal(signal.SIGTERM)
with sigterm_waits():
    signal.raise_signal(signal.SIGTERM)
    print("waits")
"""


@pytest.fixture(scope="module")
def said() -> list[str]:
    """Lines of the script, whose start of Ray several tests share."""
    done = subprocess.run([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()


@pytest.mark.slow
def test_who_asked_is_heard_afterwards(said: list[str]) -> None:
    heard = [line for line in said if not line.startswith("nice")]
    assert heard == ["started", "asked", "ended", "asked", "waits", "asked"]


@pytest.mark.slow
def test_its_workers_are_as_nice_as_asked(said: list[str]) -> None:
    """They do not give way to other programs, unless they are asked to."""
    assert EngineSettings().niceness == 0
    assert f"nice {os.nice(0) + 3}" in said

"""SIGTERM stays this process's to answer when Ray has started, and when it has ended."""

import subprocess
import sys

import pytest

SCRIPT = """
import ray, signal
from capfilt.core.config import EngineSettings
from capfilt.pipelines.engine.cluster import runtime
from capfilt.pipelines.engine.process_state import sigterm_waits
signal.signal(signal.SIGTERM, lambda *_: print("asked"))
with runtime(EngineSettings()):
    print("started")
    signal.raise_signal(signal.SIGTERM)
print("ended")
signal.raise_signal(signal.SIGTERM)
with sigterm_waits():
    signal.raise_signal(signal.SIGTERM)
    print("waits")
"""


@pytest.mark.slow
def test_who_asked_is_heard_afterwards() -> None:
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["started", "asked", "ended", "asked", "waits", "asked"])

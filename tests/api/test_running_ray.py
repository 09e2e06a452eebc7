"""A Ray of the user's own is used, and is afterwards as it was."""

import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import capfilt
from capfilt.commands.progress import RunProgress

LOGGERS = ("", "ray", "ray.data", "ray.train", "capfilt")


def process() -> dict[str, Any]:
    """What a run must leave alone in the process it runs in."""
    import ray

    context = ray.data.DataContext.get_current()
    found = {name: logging.getLogger(name) for name in LOGGERS}
    return {
        "running": ray.is_initialized(),
        "node": ray.get_runtime_context().get_node_id(),
        "context": context,
        "settings": {name: repr(value) for name, value in vars(context).items()},
        "environment": dict(os.environ),
        "loggers": {name: (log.level, log.handlers[:], log.propagate, log.disabled) for name, log in found.items()},
        "SIGTERM": signal.getsignal(signal.SIGTERM),
        "SIGINT": signal.getsignal(signal.SIGINT),
    }


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_a_running_ray_is_left_as_it_was_found(
    pairs: Path, changes: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray.data

    monkeypatch.delenv("RAY_BACKEND_LOG_LEVEL", raising=False)
    monkeypatch.setattr(ray.data.DataContext.get_current(), "enable_progress_bars", True)
    ray.data.range(1).take_all()  # what Ray Data sets up at its first use is there
    before = process()
    run = capfilt.run(pairs, tmp_path / "out", set={**changes, "engine.kind": "ray"})
    assert run.status().complete
    after = process()
    assert after.pop("context") is before.pop("context")
    assert after == before


@pytest.mark.ray
@pytest.mark.timeout(900)
def test_so_it_is_where_a_run_fails(pairs: Path, changes: dict[str, Any], tmp_path: Path) -> None:
    import ray.data

    ray.data.range(1).take_all()
    before = process()
    stopped = {**changes, "engine.kind": "ray"}

    def stop(progress: RunProgress) -> None:
        if progress.phase == "work":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        capfilt.run(pairs, tmp_path / "out", set=stopped, progress=stop)
    after = process()
    assert after.pop("context") is before.pop("context")
    assert after == before

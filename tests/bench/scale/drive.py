"""One run of the bench, in a process of its own; writes what it measured to OUT/bench.json.

    drive.py INPUT OUT WORKERS CHUNK_ROWS STARTED

STARTED is when the process was started, in seconds since 1970: imports count.
"""

import contextlib
import json
import resource
import statistics
import sys
import threading
import time
from pathlib import Path

from capfilt.commands.progress import RunProgress
from capfilt.commands.run import run
from capfilt.pipelines.recipes.load import load_recipe


def peak_mb() -> float:
    """The most memory this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def store_mb() -> float:
    """What lies in this machine's object store; no public call of Ray tells."""
    import ray
    from ray._private.internal_api import node_stats

    node = ray.nodes()[0]
    told = node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], include_memory_info=False)
    return float(told.store_stats.object_store_bytes_used) / 1e6


class Watch:
    """Hears the progress of a run, and looks at the object store twice a second from the first commit on."""

    def __init__(self, started: float) -> None:
        self.started = started
        self.at: dict[str, float] = {}
        self.rows: list[tuple[float, int]] = []
        self.before = 0
        self.rss: dict[str, float] = {}
        self.store = 0.0
        threading.Thread(target=self.look, daemon=True).start()

    def hear(self, progress: RunProgress) -> None:
        now = time.time() - self.started
        self.at.setdefault(progress.phase, now)
        if progress.phase == "start":
            self.before = progress.rows_done
        if progress.phase == "work":
            self.rows.append((now, progress.rows_done))
        self.rss[progress.phase] = peak_mb()

    @property
    def rows_now(self) -> int:
        """Rows that this run committed."""
        return self.rows[-1][1] - self.before if self.rows else 0

    def look(self) -> None:
        while "select" not in self.at:
            time.sleep(0.5)
            if "work" in self.at:
                from grpc import RpcError
                from ray.exceptions import RaySystemError

                with contextlib.suppress(RaySystemError, RpcError):  # it is going down
                    self.store = max(self.store, store_mb())


def main(source: str, out: str, workers: str, chunk_rows: str, started: str) -> None:
    settings = (
        "caption.captioner='python:standin:Sleeper'",
        "score.judges=['python:standin:Nodder']",
        f"input.chunk_rows={chunk_rows}",
        f"engine.workers={workers}",
    )
    watch = Watch(float(started))
    outcome = run([source], out, load_recipe("blip", settings), listener=watch.hear)
    told = {
        "rows": outcome.rows,
        "chunks": outcome.chunks,
        "rows_now": watch.rows_now,
        "plan_s": watch.at["start"] - watch.at["plan"],
        "first_commit_s": watch.at["work"],
        "whole_s": watch.at["done"],
        "select_s": watch.at["done"] - watch.at["select"],
        "steady_rows_s": steady(watch.rows),
        "rss_work_mb": watch.rss["work"],
        "rss_mb": peak_mb(),
        "object_store_mb": watch.store,
    }
    Path(out, "bench.json").write_text(json.dumps(told))


def steady(rows: list[tuple[float, int]]) -> float:
    """Rows a second between a tenth and nine tenths of the commits: without the start, and without the end.

    The slope of the line through all of them: workers commit a chunk at a time, two of them nearly at once.
    """
    middle = rows[len(rows) // 10 : len(rows) * 9 // 10]
    return statistics.linear_regression(*zip(*middle, strict=True)).slope if len(middle) > 4 else 0.0


if __name__ == "__main__":
    main(*sys.argv[1:])

"""One run of the bench, in a process of its own: `drive.py INPUT OUT WORKERS`; prints what it measured as JSON."""

import json
import resource
import sys
import threading
import time
from pathlib import Path

from capfilt.config import load_recipe
from capfilt.pipelines.plan import make_plan
from capfilt.run import Progress, run


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
    """Hears the progress of a run, and looks at the object store every second."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.at: dict[str, float] = {}
        self.rows: list[tuple[float, int]] = []
        self.rss: dict[str, float] = {}
        self.store = 0.0
        threading.Thread(target=self.look, daemon=True).start()

    def hear(self, progress: Progress) -> None:
        now = time.perf_counter() - self.began
        self.at.setdefault(progress.phase, now)
        if progress.phase == "work":
            self.rows.append((now, progress.rows_done))
        self.rss[progress.phase] = peak_mb()

    def look(self) -> None:
        while True:
            time.sleep(0.5)
            if "work" in self.at and "select" not in self.at:
                self.store = max(self.store, store_mb())


def main(source: str, out: str, workers: str) -> None:
    settings = (
        "caption.captioner='python:standin:Sleeper'",
        "score.judges=['python:standin:Nodder']",
        "input.chunk_rows=1000",
        f"engine.workers={workers}",
    )
    recipe = load_recipe("blip", settings)
    began = time.perf_counter()
    chunks = len(make_plan([source], recipe.input).chunks)
    planned = time.perf_counter() - began
    watch = Watch()
    outcome = run([source], out, recipe, listener=watch.hear)
    watch.hear(Progress("done"))
    told = {
        "rows": outcome.rows,
        "chunks": chunks,
        "chunks_now": outcome.chunks_now,
        "plan_s": planned,
        "first_commit_s": watch.rows[0][0] if watch.rows else 0.0,
        "whole_s": watch.at["done"],
        "select_s": watch.at["done"] - watch.at.get("select", 0.0),
        "steady_rows_s": steady(watch.rows),
        "rss_work_mb": watch.rss.get("work", 0.0),
        "rss_mb": peak_mb(),
        "object_store_mb": watch.store,
    }
    Path(out, "bench.json").write_text(json.dumps(told))


def steady(rows: list[tuple[float, int]]) -> float:
    """Rows a second between a tenth and nine tenths of the commits: without the start, and without the end."""
    if len(rows) < 10:
        return 0.0
    (first, before), (last, after) = rows[len(rows) // 10], rows[len(rows) * 9 // 10]
    return (after - before) / (last - first)


if __name__ == "__main__":
    main(*sys.argv[1:])

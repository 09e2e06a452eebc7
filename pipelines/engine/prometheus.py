"""Numbers of a run for Prometheus: Ray's exporter, on every node, gives them out beside its own.

All are counted where chunks arrive committed, so that no row is counted twice and a retried task not at all. How busy
devices are is Ray's to tell (`ray_node_gpus_utilization`), and so are the queues between stages (`ray_data_*`).
"""

from typing import Any

from capfilt.pipelines.engine.chunk.outcome import ChunkOutcome


class RunMetrics:
    """The metrics of one run; a connected Ray is needed.

    Args:
        metrics: the module `ray.util.metrics`.
        out: tells runs apart, as the tag `out`.
        chunks: that are still to do.
    """

    def __init__(self, metrics: Any, out: str, chunks: int) -> None:
        def counter(name: str, about: str, *tags: str) -> Any:
            metric = metrics.Counter(f"capfilt_{name}", description=about, tag_keys=("out", *tags))
            metric.set_default_tags({"out": out})
            return metric

        self.rows = counter("rows", "Input rows committed.")
        self.images = counter("images", "Images committed.")
        self.captions = counter("captions", "Candidate texts committed, web and synthetic.")
        self.failures = counter("failures", "Input rows that became no image, by reason.", "reason")
        self.chunks = counter("chunks", "Chunks that ended, by state: committed or failed.", "state")
        self.seconds = counter("stage_seconds", "Seconds that workers spent, by stage.", "stage")
        self.waiting = metrics.Gauge("capfilt_chunks_waiting", description="Chunks not ended yet.", tag_keys=("out",))
        self.waiting.set_default_tags({"out": out})
        self.left = chunks
        self.waiting.set(chunks)

    def count(self, outcome: ChunkOutcome) -> None:
        """A chunk came out of its last stage."""
        self.chunks.inc(1, {"state": "failed" if outcome.error else "committed"})
        for name in ("rows", "images", "captions"):
            # Ray's counters refuse to grow by 0.
            if value := getattr(outcome, name):
                getattr(self, name).inc(value)
        for reason, number in outcome.reasons.items():
            self.failures.inc(number, {"reason": reason})
        for stage, seconds in outcome.seconds.items():
            if seconds > 0:
                self.seconds.inc(seconds, {"stage": stage})
        self.left -= 1
        self.waiting.set(self.left)

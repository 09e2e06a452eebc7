"""From the seconds of a sample to the hours, storage and money of the whole: plain arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass

Lane = tuple[tuple[str, ...], int]
"""Stages that follow each other, and how many workers go through them at once."""


@dataclass(frozen=True, slots=True)
class Timing:
    """What a sample took."""

    rows: int  # that `seconds` are of
    seconds: Mapping[str, float]  # by stage
    once: float  # seconds that a run takes but once: to start, to load models, what the first chunk took longer

    def per_row(self, stage: str) -> float:
        """Seconds of a stage for one row."""
        return self.seconds.get(stage, 0.0) / max(self.rows, 1)


@dataclass(frozen=True, slots=True)
class Workers:
    """What works at the same time in a run."""

    lanes: tuple[Lane, ...]  # every stage in one of them; the slowest lane is the speed of the run
    gpus: float  # that are held as long as the run takes; 0 = none
    cores: int  # that are held where there is no GPU
    start: float = 0.0  # seconds before the first of them works, models not counted


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """What a whole run should take."""

    rows: int
    hours: float  # on the clock, `once` included
    once: float  # seconds
    processor: str  # whose hours `processor_hours` are: GPU or CPU
    processor_hours: float
    price: float | None  # None without a price, or without a GPU
    storage: Mapping[str, int]  # bytes by folder
    slowest: str  # the stages that limit the speed


def estimate(
    rows: int, timing: Timing, workers: Workers, storage: Mapping[str, float], price: float | None = None
) -> RunEstimate:
    """Scale a sample to a whole run.

    Args:
        rows: of the whole input.
        storage: bytes a row, by folder.
        price: of an hour of one GPU.
    """
    pace = {" + ".join(stages): sum(map(timing.per_row, stages)) / count for stages, count in workers.lanes}
    slowest = max(pace, key=lambda lane: pace[lane])
    once = timing.once + workers.start
    hours = (once + rows * pace[slowest]) / 3600
    money = hours * workers.gpus * price if price is not None and workers.gpus else None
    sizes = {folder: round(rows * size) for folder, size in storage.items()}
    name = "GPU" if workers.gpus else "CPU"
    return RunEstimate(rows, hours, once, name, hours * (workers.gpus or workers.cores), money, sizes, slowest)

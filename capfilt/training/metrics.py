"""What a training leaves of its course: metrics.jsonl, TensorBoard's events, and the losses as a chart."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from capfilt.charts.loss_curves import FILE, loss_chart
from capfilt.charts.svg import standalone
from capfilt.core.storage import Folder

if TYPE_CHECKING:
    from capfilt.models.training.loop import TrainProgress

NAME: Final = "metrics.jsonl"
SPEED: Final = "pairs_per_second"


class Metrics:
    """The metrics of a training in a folder; a line a log line.

    Args:
        step: where the training goes on; lines after it are from steps that a kill undid, and are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX import SummaryWriter

        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        kept = [line for line in read_metrics(folder) if line["step"] <= step]
        Folder.at(folder).write(NAME, "".join(json.dumps(line) + "\n" for line in kept).encode())
        self.events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def add(self, progress: "TrainProgress") -> None:
        """Note a log line."""
        line = {"step": progress.step, **progress.losses, "rate": progress.rate, SPEED: progress.pairs_per_second}
        with (self.folder / NAME).open("a", encoding="utf-8") as stream:
            told = {name: value if math.isfinite(value) else None for name, value in line.items()}
            stream.write(json.dumps(told, allow_nan=False) + "\n")
        for name, value in line.items():
            if name != "step":
                self.events.add_scalar(f"loss/{name}" if name in progress.losses else name, value, progress.step)
        self.events.flush()

    def close(self) -> None:
        """Close the events and draw the losses."""
        self.events.close()
        lines = read_metrics(self.folder)
        names = [name for name in (lines[0] if lines else {}) if name not in ("step", "rate", SPEED)]
        points = {name: [(line["step"], line[name]) for line in lines if line.get(name) is not None] for name in names}
        (self.folder / FILE).write_bytes(standalone(loss_chart(points)))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl; a last one that a kill cut short is left out."""
    try:
        lines: Sequence[str] = (folder / NAME).read_text(encoding="utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("\n")]

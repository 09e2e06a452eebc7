"""One run of the benchmark: what was asked, what was found, and when it must end."""

import argparse
import datetime
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import material
import report
import torch
from limits import Limits, Work, commit, machine, seconds

MARK: Final = "<!-- results -->"

Do = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Where:
    """What a figure is of."""

    size: str
    dtype: str
    batch: int


class Bench:
    """Results are saved after each measurement, so that a run that is cut short loses nothing."""

    def __init__(self, asked: argparse.Namespace, folder: Path) -> None:
        self.asked, self.folder, self.device = asked, folder, asked.device
        self.until = time.monotonic() + asked.seconds
        self.results: dict[str, Any] = {
            "date": datetime.date.today().isoformat(),
            "machine": machine(self.device),
            "commit": commit(),
            "versions": f"torch {torch.__version__}, {torch.get_num_threads()} threads, {asked.clock} clock",
            "command": asked.command,
            "left_out": [],
            "limits": {dtype: asdict(Limits.measure(self.device, getattr(torch, dtype))) for dtype in asked.dtypes},
            **{name: [] for name in ("speed", "stages", "memory", "parity")},
            "agreement": {},
        }

    def save(self) -> None:
        """Write results.json and the tables of the README; other machines and commands keep what they found."""
        out: Path = self.asked.out
        out.mkdir(parents=True, exist_ok=True)
        file = out / "results.json"
        kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else []
        runs = [self.results, *(run for run in kept if _of(run) != _of(self.results))]
        file.write_text(json.dumps(runs, indent=1) + "\n", encoding="utf-8")
        if (readme := out / "README.md").is_file():
            head = readme.read_text(encoding="utf-8").partition(MARK)[0]
            readme.write_text(f"{head}{MARK}\n\n{report.page(runs)}", encoding="utf-8")

    def add(self, table: str, row: dict[str, Any]) -> None:
        """Note a row, save, and say it."""
        self.results[table].append(row)
        self.save()
        told = {key: f"{value:.3g}" if isinstance(value, float) else value for key, value in row.items() if value}
        print(f"{table}: " + ", ".join(f"{key} {value}" for key, value in told.items()), flush=True)

    def goes(self, what: str, need: float) -> bool:
        """Whether there is time for a measurement that takes about so many seconds."""
        if time.monotonic() + need < self.until:
            return True
        print(f"left out, no time: {what}", flush=True)
        self.results["left_out"].append(what)
        return False

    def folders(self, size: str) -> dict[str, Path]:
        """Checkpoints of a size, made when first asked for."""
        return {
            "captioner": material.blip(self.folder / f"captioner-{size}-384", "BlipForConditionalGeneration", size),
            "itm": material.blip(self.folder / f"itm-{size}-384", "BlipForImageTextRetrieval", size),
            "clip": material.clip(self.folder / self.asked.clip, self.asked.clip),
        }

    def compare(self, what: str, floor: str, where: Where, work: tuple[Do, Do, Do], least: Sequence[Work]) -> None:
        """Time ours and A in turn, then B, which does one image; note seconds an image. `least`: of ours, by stage."""
        best = [float("inf"), float("inf")]
        for turn in range(self.asked.repeat):
            if turn and time.monotonic() + 2 * where.batch * sum(best) > self.until:
                break
            best = [min(old, seconds(run) / where.batch) for old, run in zip(best, work[:2], strict=True)]
        limits = Limits(**self.results["limits"][where.dtype])
        bound = sum(limits.least(part) for part in least) / where.batch
        row = {"what": what, "floor": floor, **asdict(where), "least": bound}
        self.add("speed", row | {"ours": best[0], "a": best[1], "b": seconds(work[2])})

    def stage(self, what: str, where: Where, work: Do, least: Work) -> Any:
        """Time a part of ours against the machine's limit; gives what it computed."""
        kept: list[Any] = []
        spent = seconds(lambda: kept.append(work()), self.asked.repeat)
        bound = Limits(**self.results["limits"][where.dtype]).least(least)
        row = {"what": what, **asdict(where), "seconds": spent / where.batch, "least": bound / where.batch}
        self.add("stages", row)
        return kept[-1]


def _of(run: dict[str, Any]) -> tuple[str, str]:
    """A later run on the same machine by the same command takes a run's place."""
    return run["machine"], run["command"]

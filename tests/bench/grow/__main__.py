"""What it costs to give a finished run more: a judge, or more rows.

    python tests/bench/grow [--images N] [--folder DIR]

`capfilt annotate --judge` over N images of 10 texts stands beside the judge alone (`drive.py`), and `capfilt run
--append` of 5 % more images, and of one, beside the run that they join. Every figure is of a process of its own, from
its start to its end, in seconds on the clock and CPU seconds of all of its processes.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.demo.world import describe, jpeg, other_caption, random_scene

HERE: Final = Path(__file__).parent
MARK: Final = "<!-- results -->\n"
JUDGE: Final = "demo-filter"
TEXTS: Final = 10  # an image
MORE: Final = 20  # one image more for so many
RUN: Final = ("caption.n=0", f"score.judges=['{JUDGE}']", "engine.kind=local")
FAST: Final = [word for setting in RUN for word in ("--set", setting)]

Figures = dict[str, float]


def measure(*words: str | Path) -> Figures:
    """Seconds on the clock, CPU seconds and peak memory of a Python process with these arguments, and its children."""
    began, load = time.perf_counter(), os.getloadavg()[0]
    process = subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{words} ended with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    seconds = time.perf_counter() - began
    return {"s": seconds, "cpu_s": cpu, "peak_mb": usage.ru_maxrss * 1024 / 1e6, "load_before": load}


def capfilt(*words: str | Path) -> Figures:
    return measure("-m", "capfilt", *words)


def write_input(file: Path, images: int, seed: int) -> None:
    """Drawn pictures, each with ten texts, one of them right."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(images):
        scene = random_scene(rng)
        texts = [describe(scene), *(other_caption(scene, rng) for _ in range(TEXTS - 1))]
        rows.append({"image": jpeg(scene, 96), "text": texts})
    columns = pa.schema([("image", pa.binary()), ("text", pa.list_(pa.string()))])
    pq.write_table(pa.Table.from_pylist(rows, columns), file)


def judge_and_append(folder: Path, images: int) -> dict[str, Figures]:
    """A run, the run with a judge more, the judge alone, and the run with 5 % more images."""
    first, one, second, out = (folder / name for name in ("first.parquet", "one.parquet", "second.parquet", "out"))
    for file, count, seed in ((first, images, 1), (one, 1, 2), (second, images // MORE, 3)):
        write_input(file, count, seed)
    found = {"the run": capfilt("run", first, "--out", out, *FAST)}
    found["annotate --judge"] = capfilt("annotate", out, "--judge", f"late={JUDGE}")
    found["the judge alone"] = measure(HERE / "drive.py", out, JUDGE)
    capfilt("annotate", out, "--drop", "late")  # the run alone is what is appended to
    found["run --append, 1 image"] = capfilt("run", one, "--out", out, "--append")
    found["run --append, 5 % more"] = capfilt("run", second, "--out", out, "--append")
    return found


def lines(result: Mapping[str, Any]) -> list[str]:
    """The tables of README.md."""
    told = f"{result['images']:,} images with {TEXTS} texts each"
    table = ["| step | s | CPU s | MB | load before |", "|---|---|---|---|---|"]
    for name, step in result["steps"].items():
        load = f"{step['load_before']:.1f}"
        table.append(f"| {name} | {step['s']:.1f} | {step['cpu_s']:.1f} | {step['peak_mb']:.0f} | {load} |")
    ratios = [f"- {name}: {value:.3f}" for name, value in result["ratios"].items()]
    return [f"{result['date']}, {result['machine']}, {result['commit']}: {told}.", "", *table, "", *ratios]


def ratios(steps: Mapping[str, Figures]) -> dict[str, float]:
    """What a step costs beside another one, in CPU seconds; of rows also without what every start costs."""
    cpu = {name: step["cpu_s"] for name, step in steps.items()}
    start, more = cpu["run --append, 1 image"], cpu["run --append, 5 % more"]
    return {
        "annotate --judge / the judge alone": cpu["annotate --judge"] / cpu["the judge alone"],
        "5 % more / the run": more / cpu["the run"],
        "5 % more / the run, starts left out": (more - start) / (cpu["the run"] - start),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--folder", type=Path, help="where the runs are made and removed; default: a temporary one")
    parser.add_argument("--out", type=Path, default=HERE, help="where results.json is written")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="capfilt-bench-", dir=asked.folder))
    steps = judge_and_append(folder, asked.images)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    result: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "commit": f"commit {commit.strip()}",
        "images": asked.images,
        "steps": steps,
        "ratios": ratios(steps),
    }
    (asked.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    shutil.rmtree(folder)
    print("\n".join(lines(result)))
    if asked.out == HERE:
        about = (HERE / "README.md").read_text().partition(MARK)[0]
        (HERE / "README.md").write_text(about + MARK + "\n" + "\n".join(lines(result)) + "\n")


if __name__ == "__main__":
    main()

"""What the pipeline costs beside its models: runs over a timed stand-in that sleeps where models would compute.

    python tests/bench/scale [--only ROWS ...] [--limit ROWS] [--folder DIR]

For each size: a run with two workers, then the same once more with one commit of a hundred taken away (a resume). At
the first size one worker too. results.json and the table of README.md are written after each run; a run that is
measured anew takes the place of the old one.
"""

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from capfilt import __version__

HERE: Final = Path(__file__).parent
MARK: Final = "<!-- results -->\n"
GROUP: Final = 1000


@dataclass(frozen=True, slots=True)
class Size:
    """What is run. `seconds`: of the stand-in a picture; `side`: of the pixels it asks for; `chunk`: rows of one."""

    rows: int
    seconds: float
    side: int
    chunk: int


SIZES: Final = (Size(10_000, 0.020, 384, 256), Size(100_000, 0.004, 32, 1000), Size(1_000_000, 0.001, 32, 1000))

COLUMNS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "rows": lambda one: f"{one['rows']:,}",
    "stand-in ms": lambda one: f"{1000 * one['seconds']:g}",
    "pixels": lambda one: f"{one['side']}",
    "what": lambda one: one["kind"],
    "workers": lambda one: f"{one['workers']}",
    "plan s": lambda one: f"{one['plan_s']:.1f}",
    "first commit s": lambda one: f"{one['first_commit_s']:.1f}",
    "whole s": lambda one: f"{one['whole_s']:.0f}",
    "stand-in alone s": lambda one: f"{one['standin_s']:.0f}",
    "rows/s steady": lambda one: f"{one['steady_rows_s']:.1f}" if one["steady_rows_s"] else "-",
    "over the stand-in": lambda one: f"{100 * over(one):.1f} %" if one["steady_rows_s"] else "-",
    "select s": lambda one: f"{one['select_s']:.1f}",
    "driver RSS MB, work": lambda one: f"{one['rss_work_mb']:.0f}",
    "at most": lambda one: f"{one['rss_mb']:.0f}",
    "object store MB": lambda one: f"{one['object_store_mb']:.0f}",
    "load": lambda one: f"{one['load']:.1f}",
    "date": lambda one: one["date"],
}


def over(one: dict[str, Any]) -> float:
    """By how much a row takes longer than the stand-in alone would take."""
    return float(one["workers"] / one["seconds"] / one["steady_rows_s"] - 1)


def write_input(path: Path, rows: int) -> None:
    """Rows with one and the same small picture, each with a text of its own."""
    sink = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(sink, "JPEG")
    columns = pa.schema([("image", pa.binary()), ("text", pa.string())])
    with pq.ParquetWriter(path, columns, compression="zstd") as writer:
        for start in range(0, rows, GROUP):
            count = min(GROUP, rows - start)
            texts = [f"text number {number}" for number in range(start, start + count)]
            writer.write_table(pa.table({"image": [sink.getvalue()] * count, "text": texts}, columns), GROUP)


def drive(source: Path, out: Path, size: Size, workers: int, kind: str) -> dict[str, Any]:
    """A run in a process of its own; what it measured."""
    standin = {"PYTHONPATH": str(HERE), "STANDIN_SECONDS": str(size.seconds), "STANDIN_SIDE": str(size.side)}
    command = [
        sys.executable,
        str(HERE / "drive.py"),
        str(source),
        str(out),
        str(workers),
        str(size.chunk),
        str(time.time()),
    ]
    quiet = {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}  # or whatever else runs here goes before our workers
    subprocess.run(command, env=os.environ | standin | quiet, check=True)
    told: dict[str, Any] = json.loads((out / "bench.json").read_text())
    alone = told["rows_now"] * size.seconds / workers
    run = {"kind": kind, "workers": workers, "standin_s": alone, "load": os.getloadavg()[0]}
    return asdict(size) | told | run | {"date": datetime.now(UTC).date().isoformat()}


def forget_one_in_a_hundred(out: Path) -> None:
    """Take every hundredth commit away, as if the run had been killed just before the end."""
    for number, record in enumerate(sorted((out / "commits").glob("*.parquet"))):
        if number % 100 == 5:
            record.unlink()


def bench(size: Size, folder: Path, alone: bool) -> Iterator[dict[str, Any]]:
    source, out = folder / f"{size.rows}.parquet", folder / f"{size.rows}-2"
    write_input(source, size.rows)
    yield drive(source, out, size, 2, "run")
    forget_one_in_a_hundred(out)
    yield drive(source, out, size, 2, "resume at 99 %")
    if alone:
        yield drive(source, folder / f"{size.rows}-1", size, 1, "run")


def table(results: dict[str, Any]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|" + "---|" * len(COLUMNS)]
    lines += [f"| {' | '.join(cell(one) for cell in COLUMNS.values())} |" for one in results["runs"]]
    about = f"capfilt {results['capfilt']}, {results['machine']}, {results['cores']} cores; `make bench-scale`"
    return f"{about}\n\n" + "\n".join(lines) + "\n"


def _place(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["rows"], one["kind"] != "run", -one["workers"]


def note(one: dict[str, Any]) -> None:
    """Put a run among the results, in the place of the old one of its kind."""
    file, page = HERE / "results.json", HERE / "README.md"
    before = json.loads(file.read_text())["runs"] if file.exists() else []
    kept = [old for old in before if _place(old) != _place(one)]
    results = {
        "capfilt": __version__,
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "cores": os.cpu_count(),
        "runs": sorted([*kept, one], key=_place),
    }
    file.write_text(json.dumps(results, indent=2) + "\n")
    page.write_text(page.read_text().partition(MARK)[0] + MARK + "\n" + table(results))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", type=int, nargs="+", default=[size.rows for size in SIZES], help="rows")
    parser.add_argument("--limit", type=int, default=max(size.rows for size in SIZES), help="rows of a size at most")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    for number, size in enumerate(SIZES):
        if size.rows in given.only:
            with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                less = replace(size, rows=min(size.rows, given.limit))
                for one in bench(less, Path(folder), alone=number == 0):
                    note(one)


if __name__ == "__main__":
    main()

"""What the pipeline costs beside its models: runs over a timed stand-in that sleeps where models would compute.

    python tests/bench/scale [--rows N ...] [--seconds S ...] [--folder DIR]

For each size: a run with two workers, then the same once more with one commit of a hundred taken away (a resume). At
the second size one worker too. results.json is written after each size, and the table of README.md at the end.
"""

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tempfile
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


def write_input(path: Path, rows: int) -> None:
    """Rows with one and the same small picture, each with a text of its own."""
    sink = io.BytesIO()
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(sink, "JPEG")
    columns = pa.schema([("image", pa.binary()), ("text", pa.string())])
    with pq.ParquetWriter(path, columns, compression="zstd") as writer:
        for start in range(0, rows, GROUP):
            count = min(GROUP, rows - start)
            texts = [f"text number {number}" for number in range(start, start + count)]
            writer.write_table(pa.table({"image": [sink.getvalue()] * count, "text": texts}, columns))


def drive(source: Path, out: Path, workers: int, seconds: float) -> dict[str, Any]:
    """A run in a process of its own; what it measured."""
    here = {"PYTHONPATH": str(HERE), "STANDIN_SECONDS": str(seconds), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "drive.py"), str(source), str(out), str(workers)]
    subprocess.run(command, env=os.environ | here, check=True)
    told: dict[str, Any] = json.loads((out / "bench.json").read_text())
    ideal = told["chunks_now"] * told["rows"] / told["chunks"] * seconds / workers
    return told | {"workers": workers, "seconds": seconds, "standin_s": ideal, "load": os.getloadavg()[0]}


def forget_one_in_a_hundred(out: Path) -> None:
    """Take every hundredth commit away, as if the run had been killed just before the end."""
    for number, record in enumerate(sorted((out / "commits").glob("*.parquet"))):
        if number % 100 == 5:
            record.unlink()


def bench(rows: int, seconds: float, folder: Path, alone: bool) -> list[dict[str, Any]]:
    source = folder / f"{rows}.parquet"
    write_input(source, rows)
    found = [drive(source, folder / f"{rows}-2", 2, seconds) | {"kind": "run"}]
    forget_one_in_a_hundred(folder / f"{rows}-2")
    found.append(drive(source, folder / f"{rows}-2", 2, seconds) | {"kind": "resume at 99 %"})
    if alone:
        found.append(drive(source, folder / f"{rows}-1", 1, seconds) | {"kind": "run"})
    return found


def table(results: dict[str, Any]) -> str:
    head = ("rows", "ms a picture", "what", "workers", "plan s", "first commit s", "whole s", "stand-in s")
    head += (
        "rows/s steady",
        "over the stand-in",
        "select s",
        "driver RSS MB, work",
        "at most",
        "object store MB",
        "load",
    )
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for one in results["runs"]:
        rate, ideal = one["steady_rows_s"], one["workers"] / one["seconds"]
        cells = [
            f"{one['rows']:,}",
            f"{1000 * one['seconds']:g}",
            one["kind"],
            str(one["workers"]),
            f"{one['plan_s']:.1f}",
        ]
        cells += [f"{one['first_commit_s']:.1f}", f"{one['whole_s']:.0f}", f"{one['standin_s']:.0f}"]
        cells += [f"{rate:.0f}" if rate else "-", f"{100 * (ideal / rate - 1):.1f} %" if rate else "-"]
        cells += [f"{one['select_s']:.1f}", f"{one['rss_work_mb']:.0f}", f"{one['rss_mb']:.0f}"]
        cells += [f"{one['object_store_mb']:.0f}", f"{one['load']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    about = (
        f"{results['date']}, capfilt {results['capfilt']}, {results['machine']}, {results['cores']} cores; "
        f"`{results['command']}`"
    )
    return f"{about}\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--seconds", type=float, nargs="+", default=[0.004, 0.004, 0.001], help="of each size")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "capfilt": __version__,
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "cores": os.cpu_count(),
        "command": " ".join(["python tests/bench/scale", *sys.argv[1:]]) if sys.argv[1:] else "make bench-scale",
        "runs": [],
    }
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for number, (rows, seconds) in enumerate(zip(given.rows, given.seconds, strict=True)):
            results["runs"] += bench(rows, seconds, Path(folder), alone=number == 1)
            (HERE / "results.json").write_text(json.dumps(results, indent=2) + "\n")
            page = HERE / "README.md"
            page.write_text(page.read_text().partition(MARK)[0] + MARK + "\n" + table(results))


if __name__ == "__main__":
    main()

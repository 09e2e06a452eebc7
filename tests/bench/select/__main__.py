"""How long `capfilt select` takes, and how much memory: 1 and 10 million candidates of a run without pictures.

    python tests/bench/select [--candidates N ...] [--folder DIR]

Every line of the result is a process of its own, timed from its start to its end. results.json is written after each
size, and the table of README.md at the end.
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
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from make_layers import make_layers
from make_run import make_run

from capfilt import __version__

HERE: Final = Path(__file__).parent
MARK: Final = "<!-- results -->\n"

STEPS: Final = (
    ("dry run", "--dry-run"),
    ("first selection", "--name", "half"),
    ("another threshold", "--set", "select.threshold=0.6"),
    ("a name again", "--name", "half"),
    ("nothing to do", "--name", "half"),
    ("quantile, dry run", "--dry-run", "--set", "select.policy=quantile"),
    ("blip2, dry run", "--dry-run", "--set", "select.policy=blip2"),
    ("ensemble, dry run", "--dry-run", "--set", "select.policy=ensemble"),
    ("flags, dry run", "--dry-run", "--set", "select.min_words=3", "--set", "select.boilerplate=true"),
)


LAYERS: Final = ("layer_1", "layer_2", "layer_3", "layer_4")

LAYERED: Final = (
    ("four layers, first selection", "--set", "select.threshold=0.5"),
    (
        "four layers, by five columns",
        *("--set", "select.policy=ensemble", "--set", f"select.judges={['itm', *LAYERS]}"),
    ),
    ("four layers, another threshold", "--set", "select.threshold=0.6"),
)
"""Steps after the run was given layers."""


def measure(*arguments: str | Path) -> dict[str, float]:
    """Seconds on the clock, seconds of all cores, and the most memory at once, of one command."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "capfilt", *map(str, arguments)], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"capfilt {arguments} ended with {process.returncode}")
    cpu = usage.ru_utime + usage.ru_stime
    return {"s": time.perf_counter() - began, "cpu_s": cpu, "peak_mb": usage.ru_maxrss * 1024 / 1e6}


def bench(candidates: int, folder: Path, steps: Sequence[str]) -> dict[str, Any]:
    """Some of the steps over a fresh run of so many candidates."""
    out = folder / str(candidates)
    shutil.rmtree(out, ignore_errors=True)
    ledger = make_run(out, candidates)
    records = ledger.records()
    found = {"candidates": sum(records["captions"].to_pylist()), "chunks": records.num_rows, "steps": {}}
    for group in (STEPS, LAYERED):
        if group is LAYERED and {step[0] for step in group} & {*steps}:
            make_layers(ledger, LAYERS)
        for name, *arguments in (step for step in group if step[0] in steps):
            load = os.getloadavg()[0]
            found["steps"][name] = measure("select", out, *arguments) | {"load_before": load}
            print(candidates, name, found["steps"][name], flush=True)
    shutil.rmtree(out)
    return found


def machine() -> str:
    """This machine in general words."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {gigabytes:.0f} GB memory, {platform.system()}, Python {platform.python_version()}"


def lines(result: dict[str, Any]) -> list[str]:
    """The table of README.md."""
    runs = result["runs"]
    heads = [f"{run['candidates'] / 1e6:.0f} M: s | CPU s | MB" for run in runs]
    ratio = " | times" if len(runs) == 2 else ""
    table = [f"| step | {' | '.join(heads)}{ratio} |", "|---" * (1 + 3 * len(runs) + bool(ratio)) + "|"]
    for name in runs[0]["steps"]:
        steps = [run["steps"][name] for run in runs]
        cells = [f"{step['s']:.1f} | {step['cpu_s']:.1f} | {step['peak_mb']:.0f}" for step in steps]
        times = f" | {steps[1]['s'] / steps[0]['s']:.1f}" if ratio else ""
        table.append(f"| {name} | {' | '.join(cells)}{times} |")
    chunks = " and ".join(f"{run['candidates']:,} candidates in {run['chunks']:,} chunks" for run in runs)
    return [f"{result['date']}, {result['machine']}, capfilt {result['capfilt']}: {chunks}.", "", *table]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--folder", type=Path, help="where the runs are made and removed; default: a temporary one")
    names = [step[0] for step in (*STEPS, *LAYERED)]
    parser.add_argument("--steps", nargs="+", default=names, choices=names, metavar="STEP", help="; ".join(names))
    parser.add_argument("--out", type=Path, default=HERE, help="where results.json is written")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="capfilt-bench-"))
    date = datetime.now(UTC).date().isoformat()
    result: dict[str, Any] = {"date": date, "machine": machine(), "capfilt": __version__, "runs": []}
    for candidates in asked.candidates:
        result["runs"].append(bench(candidates, folder, asked.steps))
        (asked.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    if asked.out != HERE:
        return
    about = (HERE / "README.md").read_text().partition(MARK)[0]
    (HERE / "README.md").write_text(about + MARK + "\n" + "\n".join(lines(result)) + "\n")


if __name__ == "__main__":
    main()

"""`make bench-start`: where the time goes from the command to the first committed chunk of the demo.

    python tests/bench/start [--turns 2] [--images 300] [--out DIR]

Every turn is a process of its own. Beside the phases on the clock it tells the CPU seconds of every process until the
first commit, which other work on the machine lengthens far less than the clock, and what each kind of process takes to
import what it needs, with the shares of packages (`python -X importtime`). As a measure of the machine: a Python that
imports torch and Ray Data, which nobody can go below.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from capfilt import __version__

HERE: Final = Path(__file__).parent
MARK: Final = "<!-- results -->\n"
PHASES: Final = ("imported", "plan", "planned", "start", "work", "done")
"""In the words of `RunProgress`; `work` is the first commit."""

KINDS: Final = {
    "command line": "import capfilt.cli",
    "driver": "import capfilt.commands.run, capfilt.pipelines.engine.ray_engine, ray.data",
    "fetch, decode and commit": "import capfilt.pipelines.engine.ray_engine",
    "decoder": "import capfilt.pipelines.imaging.isolation.child",
    "models": "import capfilt.pipelines.engine.ray_engine, capfilt.models.captioners.med, capfilt.models.judges.med",
}
"""What each kind of process imports."""

LARGE: Final = ("torch", "ray", "pandas", "pyarrow", "aiohttp", "numpy", "pydantic", "PIL", "tokenizers", "capfilt")


def imports(code: str) -> dict[str, Any]:
    """CPU seconds of a Python that imports so, and each package's share; the standard library counts as `other`."""
    command = [sys.executable, "-X", "importtime", "-c", code]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()
    found: Counter[str] = Counter()
    for line in lines:
        own, _, name = line.removeprefix("import time:").partition("|")
        package = name.partition("|")[2].strip().partition(".")[0]
        if own.strip().isdigit():
            found[package if package in LARGE else "other"] += int(own) / 1e6
    return {"cpu_s": cpu_of(code), "shares": {name: own / found.total() for name, own in found.most_common()}}


def cpu_of(code: str) -> float:
    """CPU seconds of a Python that runs `code`, the best of three."""
    spent = []
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", code])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        spent.append(usage.ru_utime + usage.ru_stime)
    return min(spent)


def start(images: int) -> dict[str, Any]:
    """One start, and what it takes to resume that run once a chunk of it is to be done again."""
    with tempfile.TemporaryDirectory(prefix="capfilt-start-") as folder:
        load = os.getloadavg()[0]
        whole = _driven(folder, images)
        # As after a kill before its last commit. The middle one of the demo: none of its pages makes a run wait.
        commits = sorted(Path(folder, "out", "commits").iterdir())
        commits[len(commits) // 2].unlink()
        resumed = _driven(folder, images)
        return whole | {"load": load, "resume": {name: resumed[name] for name in ("phases", "count", "cpu_s")}}


def _driven(folder: str, images: int) -> dict[str, Any]:
    """What `drive.py` tells of the demo in this folder."""
    command = [sys.executable, str(HERE / "drive.py"), folder, str(images), str(time.time())]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    told: dict[str, Any] = json.loads(Path(folder, "start.json").read_text())
    return told | {"count": len(told["processes"]), "cpu_s": sum(one["cpu_s"] for one in told["processes"])}


def lines(result: dict[str, Any]) -> list[str]:
    """The tables of README.md, of the turn that took least CPU time."""
    best = result["turns"][0]
    again = best["resume"]
    table = ["| until | s after the command | resumed, one chunk left |", "|---|---|---|"]
    table += [f"| {phase} | {best['phases'][phase]:.1f} | {again['phases'][phase]:.1f} |" for phase in PHASES]
    table += ["", "| process | how many | first one after s | CPU s until the first commit |", "|---|---|---|---|"]
    table += [
        f"| {what} | {len(some)} | {min(one['at'] for one in some):.1f} | {sum(one['cpu_s'] for one in some):.1f} |"
        for what, some in _by_kind(best["processes"]).items()
    ]
    table += ["", "| imports of | CPU s | most of it |", "|---|---|---|"]
    for kind, spent in result["imports"].items():
        largest = ", ".join(f"{name} {share:.0%}" for name, share in list(spent["shares"].items())[:5])
        table.append(f"| {kind} | {spent['cpu_s']:.1f} | {largest} |")
    about = f"{result['date']}, {result['machine']}, capfilt {result['capfilt']}, load before {best['load']:.1f}"
    whole = (
        f"{best['cpu_s']:.1f} CPU seconds until the first commit, {again['cpu_s']:.1f} where one chunk was left; "
        f"{result['floor_cpu_s']:.1f} to import torch and Ray"
    )
    return [f"{about}: {whole}.", "", *table]


def _by_kind(processes: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    kinds: dict[str, list[dict[str, Any]]] = {}
    for one in processes:
        kinds.setdefault(one["what"], []).append(one)
    return dict(sorted(kinds.items(), key=lambda item: -sum(one["cpu_s"] for one in item[1])))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--out", type=Path, default=HERE, help="where results.json is written")
    asked = parser.parse_args()
    turns = sorted((start(asked.images) for _ in range(asked.turns)), key=lambda turn: float(turn["cpu_s"]))
    floor = cpu_of("import torch, ray.data")
    result: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}",
        "capfilt": __version__,
        "floor_cpu_s": floor,
        "turns": turns,
        "imports": {kind: imports(code) for kind, code in KINDS.items()},
    }
    (asked.out / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    print("\n".join(lines(result)))
    if asked.out == HERE:
        about = (HERE / "README.md").read_text().partition(MARK)[0]
        (HERE / "README.md").write_text(about + MARK + "\n" + "\n".join(lines(result)) + "\n")


if __name__ == "__main__":
    main()

"""`make bench-systems`: every system learns its job in minutes, and a twin that must fail does.

Each case trains by `capfilt train`'s own code. A twin is the same training with what it should need taken away. Seconds
are CPU time of this process, so that a busy machine counts little. Results are saved after each case; with `--folder`,
the same command goes on where it was stopped.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any, Final

import measures
import torch
from cases import CASES, PLACES, Case
from material import mae_without_positions, material

from capfilt.training.recipes import load_training
from capfilt.training.train import Request, train

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE / "results.json"
NEEDS_PHOTOS: Final = ("photographs", "towers")


def measured(name: str, case: Case, files: Mapping[str, Path], home: Path) -> dict[str, Any]:
    """Train one and measure it."""
    settings = tuple(_named(change, home) for change in case.settings)
    recipe = load_training("small", case.system, (*settings, "work.log_every=50", "data.sources=['human']"))
    start = time.process_time()
    # From the beginning: of a training that resumed, the seconds before would be missing.
    train(Request(case.system, (str(files[case.data]),), home / name, recipe), fresh=True)
    seconds = time.process_time() - start
    found = getattr(measures, case.measure)(measures.Checkpoint(case.system, home / name, settings), files[case.test])
    return {
        "system": case.system,
        "settings": list(case.settings),
        "twin_of": case.twin_of,
        "cpu_seconds": round(seconds, 1),
        "seconds_a_step": round(seconds / recipe.schedule.steps, 4),
        **{key: round(value, 4) for key, value in found.items()},
        "made": made(),
    }


def _named(change: str, home: Path) -> str:
    """A setting as it is, or with the folder of the case that it names."""
    key, _, value = change.partition("=")
    return f"{key}={json.dumps(str(home / value))}" if key in PLACES else change


def made() -> dict[str, str]:
    """What a result comes of."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True)
    machine = f"{platform.machine()}, 1 thread, torch {torch.__version__}"
    words = ("tests/bench/systems", *(word for word in sys.argv[1:] if word in CASES))
    return {
        "date": str(date.today()),
        "commit": commit.stdout.strip() or "unknown",
        "machine": machine,
        "command": f"python {' '.join(words)}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*CASES, []], default=[])
    parser.add_argument("--photos", type=Path, help="folder of webdataset shards; without it their parts are left out")
    parser.add_argument("--folder", type=Path, help="where models stay; default: a temporary one")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        work(asked, asked.folder or Path(folder))


def work(asked: argparse.Namespace, home: Path) -> None:
    """All cases of the parts asked for that are not in the results of this folder."""
    files = material(home / "data", asked.photos)
    if not (home / "mae without positions").is_dir():
        mae_without_positions(home / "mae without positions")
    results: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.is_file() else {"cases": {}}
    for part in asked.parts or [part for part in CASES if part not in NEEDS_PHOTOS or asked.photos]:
        for name, case in CASES[part].items():
            done = home / f"{name}.json"
            if not done.is_file():
                done.write_text(json.dumps(measured(name, case, files, home)))
            results["cases"][name] = json.loads(done.read_text())
            asked.out.write_text(json.dumps(results, indent=1) + "\n")
            print(name, results["cases"][name], flush=True)


if __name__ == "__main__":
    main()

"""`make bench-gates`: the short form of each bench, and the first figure that falls short of gates.toml ends it.

    python tests/bench/gates.py [BENCH ...]

A gate bounds one figure of a bench's results.json, or one over another of the same run. So a gate is never a time on
some machine: it is a ratio, a share or memory.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parent.parent


class MissedError(Exception):
    """A figure falls short of its gate, or is not there."""


@dataclass(frozen=True, slots=True)
class Gate:
    """A bound of one figure. Names lead through a results.json: "speed/caption/a"; in a list by what a row says."""

    of: str
    over: str = ""
    min: float | None = None
    max: float | None = None

    def check(self, results: Any) -> str:
        """A line that says that it is met.

        Raises:
            MissedError: it is not.
        """
        value = figure(results, self.of) / (figure(results, self.over) if self.over else 1)
        bound = f"at least {self.min:g}" if self.min is not None else f"at most {self.max:g}"
        line = f"{value:8.3g}  {bound:14}  {self.of}{f'  over  {self.over}' if self.over else ''}"
        if (self.min is not None and not value >= self.min) or (self.max is not None and not value <= self.max):
            raise MissedError(line)
        return line


def figure(results: Any, name: str) -> float:
    """The figure of that name.

    Raises:
        MissedError: there is none.
    """
    for part in name.split("/"):
        found = _rows(results).get(part) if isinstance(results, list) else results.get(part)
        if found is None:
            raise MissedError(f"no figure {name}: {part} is missing")
        results = found
    return float(results)


def _rows(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows by their `what`, or by their number where they have none; the first of two alike counts."""
    return {str(row.get("what", number)): row for number, row in reversed(list(enumerate(rows)))}


def gates_of(name: str, bench: dict[str, Any]) -> list[Gate]:
    """The gates of a bench; each has exactly one bound."""
    gates = [Gate(**gate) for gate in bench["gates"]]
    if wrong := [gate.of for gate in gates if (gate.min is None) == (gate.max is None)]:
        raise SystemExit(f"gates.toml: {name}: {wrong[0]} needs either min or max")
    return gates


def results_of(command: str) -> Any:
    """What a bench wrote."""
    with tempfile.TemporaryDirectory(prefix="capfilt-gates-") as out:
        words = [sys.executable, *shlex.split(command.format(out=out))]
        subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        return json.loads(Path(out, "results.json").read_text(encoding="utf-8"))


def main() -> None:
    """Run them in the order of the file."""
    benches: dict[str, dict[str, Any]] = tomllib.loads((HERE / "gates.toml").read_text(encoding="utf-8"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", nargs="*", default=list(benches), metavar="BENCH", help=", ".join(benches))
    for name in parser.parse_args().bench:
        gates, began = gates_of(name, benches[name]), time.monotonic()
        print(f"{name}: {benches[name]['command']}", flush=True)
        results = results_of(benches[name]["command"])
        for gate in gates:
            try:
                print(f"  met     {gate.check(results)}", flush=True)
            except MissedError as missed:
                raise SystemExit(f"  MISSED  {missed}") from missed
        print(f"  {time.monotonic() - began:.0f} s, load {os.getloadavg()[0]:.1f}", flush=True)


if __name__ == "__main__":
    main()

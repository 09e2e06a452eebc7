"""The table of what each system learns in minutes, out of the committed results of `make bench-systems`."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).resolve().parents[2] / "tests" / "bench" / "systems" / "results.json"
SHOWN: Final = {
    "tr_1": "TR@1",
    "ir_1": "IR@1",
    "tr_10": "TR@10",
    "ir_10": "IR@10",
    "chance": "chance at 1",
    "loss": "loss",
    "loss with another image": "with another image",
    "captions right": "captions all right",
    "right: background": "right answers: background",
    "right: count": "count",
    "right: color": "color",
    "right: size": "size",
    "right with another image": "with another image",
    "text in its own box": "text fits its own box best",
    "box of its own text": "box fits its own text best",
    "whole images tr_1": "whole images TR@1",
    "error": "squared error of hidden patches",
    "seen by distance": "best guess from seen ones",
    "right": "hidden tokens right",
    "commonest token of the image": "commonest one of the image",
}
"""What is told of a case, where it was measured."""


def learned() -> Iterator[tuple[str, str, str, str]]:
    """Of each training its name, steps and batch, CPU seconds and what came out; twins under their case."""
    cases: Mapping[str, Mapping[str, Any]] = json.loads(RESULTS.read_text(encoding="utf-8"))["cases"]
    for name, case in cases.items():
        if case["twin_of"] in cases:
            continue
        yield _row(name, case)
        yield from (_row(f"... twin: {twin}", of) for twin, of in cases.items() if of["twin_of"] == name)


def seconds(system: str) -> str:
    """CPU seconds of the first training of a system, with its steps and batch; "" where none was measured."""
    cases = json.loads(RESULTS.read_text(encoding="utf-8"))["cases"].values()
    found = [_row("", case) for case in cases if case["system"] == system and not case["twin_of"]]
    return f"{found[0][2]} s ({found[0][1]})" if found else ""


def _row(name: str, case: Mapping[str, Any]) -> tuple[str, str, str, str]:
    settings = dict(change.split("=", 1) for change in case["settings"])
    found = ", ".join(f"{label} {_number(case[key])}" for key, label in SHOWN.items() if key in case)
    return (
        name,
        f"{settings['schedule.steps']} x {settings['schedule.batch']}",
        f"{case['cpu_seconds']:.0f}",
        found,
    )


def _number(value: float) -> str:
    return f"{value:.4f}" if value < 0.01 else f"{value:.3f}"


def made() -> str:
    """Machine, dates and commits of the results."""
    made = [case["made"] for case in json.loads(RESULTS.read_text(encoding="utf-8"))["cases"].values()]
    machines, days, commits = (", ".join(sorted({one[key] for one in made})) for key in ("machine", "date", "commit"))
    return f"{machines}; {days}; commits {commits}"

"""The gates of the benches: a figure that falls short, or is missing, ends them."""

import importlib.util
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


def load(path: Path) -> ModuleType:
    """A script as a module: its folder must not be on the path, for it holds one called `models`."""
    spec = importlib.util.spec_from_file_location("bench_gates", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


gates = load(HERE / "gates.py")
Gate, MissedError = gates.Gate, gates.MissedError
RESULTS: dict[str, Any] = {
    "ratios": {"ours": 1.25},
    "runs": [{"mb": 100.0}, {"mb": 300.0}],
    "speed": [{"what": "caption, n = 1", "ours": 2.0, "a": 5.0}, {"what": "caption, n = 1", "ours": 9.0, "a": 9.0}],
}


@pytest.mark.parametrize(
    ("gate", "value"),
    [
        (Gate("ratios/ours", min=1.25), "1.25"),
        (Gate("runs/1/mb", "runs/0/mb", max=3), "3"),
        (Gate("speed/caption, n = 1/a", "speed/caption, n = 1/ours", min=2), "2.5"),
    ],
)
def test_a_figure_within_its_bound_is_told(gate: Any, value: str) -> None:
    assert gate.check(RESULTS).split()[0] == value


@pytest.mark.parametrize(
    ("gate", "said"),
    [
        (Gate("ratios/ours", min=1.26), "1.25  at least 1.26"),
        (Gate("runs/1/mb", "runs/0/mb", max=2.9), "3  at most 2.9"),
        (Gate("speed/caption, n = 10/a", min=1), "no figure speed/caption, n = 10/a: caption, n = 10 is missing"),
    ],
)
def test_a_figure_that_falls_short_or_is_missing_is_an_error(gate: Any, said: str) -> None:
    with pytest.raises(MissedError, match=said):
        gate.check(RESULTS)


def test_what_is_no_number_meets_no_gate() -> None:
    with pytest.raises(MissedError):
        Gate("x", max=1).check({"x": float("nan")})


def test_every_gate_of_the_file_has_one_bound_and_every_command_a_bench() -> None:
    benches = tomllib.loads((HERE / "gates.toml").read_text(encoding="utf-8"))
    for name, bench in benches.items():
        assert gates.gates_of(name, bench)
        assert (HERE.parent.parent / bench["command"].split()[0]).exists()
        assert "--out {out}" in bench["command"]
    with pytest.raises(SystemExit, match="x needs either min or max"):
        gates.gates_of("x", {"gates": [{"of": "x"}]})

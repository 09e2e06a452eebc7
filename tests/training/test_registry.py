"""A system that can be trained has one line in a table; commands and recipes read that table."""

from dataclasses import replace
from pathlib import Path

import pytest

from capfilt.core.errors import ConfigError
from capfilt.training.config import TrainRecipe
from capfilt.training.recipes import load_training
from capfilt.training.registry import SYSTEMS, Foundation, System
from command_line import invoke


def check(recipe: TrainRecipe) -> Foundation:
    """This module stands for the code of a newcomer's system."""
    raise ConfigError(f"objectives.lm = {recipe.objectives.lm}: the toy was asked")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    line = replace(
        SYSTEMS["captioner"], name="toy", about="a toy", module=__name__, defaults={"objectives": {"lm": 3.0}}
    )
    monkeypatch.setitem(SYSTEMS, "toy", line)


@pytest.mark.usefixtures("toy")
def test_a_new_system_is_a_module_and_a_line(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[toy.schedule]\nbatch = 6\n[med.schedule]\nbatch = 8\n")
    assert load_training(str(recipe), "toy").schedule.batch == 6
    assert load_training(str(recipe), "med").schedule.batch == 8
    done = invoke("train", "toy", "nowhere", "--out", tmp_path / "out")
    assert (done.exit_code, "objectives.lm = 3.0: the toy was asked" in done.output) == (2, True)
    assert "a toy" in invoke("models").output


def test_help_and_models_tell_of_every_system() -> None:
    told = " ".join(invoke("train", "--help").output.split())
    listed = invoke("models").output
    for system in SYSTEMS.values():
        assert f"{system.name} = {system.about}" in told
        assert any(line.split()[0] == system.name and system.about in line for line in listed.splitlines() if line)


def test_an_unknown_system_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    done = invoke("train", "nope", "nowhere", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "'nope' is not one of med, captioner, filter, vqa, qformer" in " ".join(done.output.split())


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
def test_the_code_of_a_system_has_what_the_walk_calls(system: System) -> None:
    code = system.code()
    assert callable(code.check)
    assert callable(code.build)

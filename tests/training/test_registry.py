"""A system that can be trained has one line in a table; commands and recipes read that table."""

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from capfilt.core.errors import ConfigError
from capfilt.models.systems.registry import SYSTEMS
from capfilt.models.training.settings import setting
from capfilt.models.training.system import Asked, Foundation, System
from capfilt.training.config import recipe_type
from capfilt.training.recipes import load_training
from command_line import invoke


@dataclass(frozen=True, kw_only=True)
class ToySettings:
    """A newcomer's own section, which may have the name of the system."""

    strength: int = setting(3, "how strong", ge=1)

    def __post_init__(self) -> None:
        if self.strength == 13:
            raise ValueError("13 brings bad luck")


def check(asked: Asked) -> Foundation:
    raise ConfigError(f"toy.strength = {asked.section(ToySettings).strength}: the toy was asked")


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    line = System(name="toy", about="a toy", package="none", check=check, sections={"toy": ToySettings})
    monkeypatch.setitem(SYSTEMS, "toy", line)
    recipe_type.cache_clear()
    yield
    recipe_type.cache_clear()


@pytest.mark.usefixtures("toy")
def test_a_new_system_is_a_folder_and_a_line(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    own = "[toy]\nstrength = 5\n[toy.schedule]\nbatch = 6\n"
    recipe.write_text(f"{own}[med.schedule]\nbatch = 8\n[objectives]\nitc = 9\n")
    assert load_training(str(recipe), "toy").schedule.batch == 6
    assert load_training(str(recipe), "med").schedule.batch == 8
    done = invoke("train", "toy", "nowhere", "--out", tmp_path / "out", "--recipe", recipe)
    assert (done.exit_code, "toy.strength = 5: the toy was asked" in done.output) == (2, True)
    assert "a toy" in invoke("models").output


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("system", "change", "said"),
    [
        ("toy", "toy.strength=0", "toy.strength = 0: Input should be greater than or equal to 1"),
        ("toy", "toy.strength=13", "toy = .*13 brings bad luck"),
        ("toy", "toy.weakness=1", "unknown setting toy.weakness; known: strength"),
        ("toy", "objectives.itc=1", "unknown setting objectives; known: .*schedule, toy"),
        ("med", "toy.strength=1", "unknown setting toy; known: .*objectives"),
    ],
)
def test_a_section_is_its_system_s_alone(system: str, change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_training("small", system, (change,))


def test_a_recipe_travels_to_the_workers() -> None:
    recipe = load_training("blip", "med", ("objectives.alpha=0.3",))
    assert pickle.loads(pickle.dumps(recipe)) == recipe


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
    assert callable(system.code().build)

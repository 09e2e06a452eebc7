"""Training recipes: what a task sees of one, and what is said of mistakes."""

from pathlib import Path

import pytest

from capfilt.core.errors import ConfigError
from capfilt.models.systems.registry import SYSTEMS
from capfilt.pipelines.recipes.load import recipe_names
from capfilt.training.recipes import FOLDER, changed_training, load_training


@pytest.mark.parametrize("task", SYSTEMS)
@pytest.mark.parametrize("name", recipe_names(FOLDER))
def test_every_recipe_serves_every_task(name: str, task: str) -> None:
    recipe = load_training(name, task)
    assert recipe.name == name
    assert recipe.about


def test_the_blip_recipe_is_the_paper_s() -> None:
    """Section 4.1, and what ALBEF and the code add."""
    recipe = load_training("blip", "med")
    asked = recipe.objectives
    assert (asked.itc, asked.itm, asked.lm, asked.smoothing) == (1, 1, 1, 0.1)
    assert (asked.momentum, asked.queue, asked.alpha) == (0.995, 57_600, 0.4)
    how = recipe.schedule
    assert (how.batch, how.epochs, how.rate, how.decay, how.warmup) == (2880, 20, 3e-4, 0.85, 3000)
    assert how.rate * how.warmup_from == pytest.approx(1e-6, rel=0.01)
    assert (recipe.optimizer.weight_decay, recipe.optimizer.clip, recipe.model.image_size) == (0.05, 0, 224)
    assert load_training("blip", "captioner").objectives.prompt == "a picture of "
    assert load_training("blip", "captioner").schedule.rate == 1e-5
    drawn = recipe.data
    assert (drawn.unit, drawn.crop, drawn.flip, drawn.changes) == ("text", 0.2, True, 2)
    assert (recipe.model.bf16, recipe.dropout.text, recipe.dropout.path) == (False, 0.1, 0)
    assert load_training("blip", "vqa").dropout.path == 0.1
    assert not hasattr(load_training("blip", "qformer"), "dropout")
    for tuned in ("captioner", "filter"):  # section 3.3
        assert load_training("blip", tuned).data.crop == 0.5
        assert load_training("blip", tuned).data.sources == ("human",)


def test_a_task_s_own_section_goes_before_the_common_one_and_set_before_both() -> None:
    assert load_training("blip", "filter").schedule.shape == "cosine"
    assert load_training("blip", "filter").optimizer.decayed == "all"
    assert load_training("blip", "filter", ("schedule.shape=epochs", "schedule.batch=8")).schedule.shape == "epochs"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("objectives.queue=64", "queue and alpha need momentum"),
        ("data.temperature=0.1", "temperature needs score"),
        ("data.share={web=-1}", "shares must not be negative"),
        ("data.share={other=1}", "share names other, which is not in sources"),
        ("schedule.rate=0", "schedule.rate = 0: Input should be greater than 0"),
        ("schedule.rate=-1e-3", "schedule.rate = -0.001: Input should be greater than 0"),
        ("schedule.rate=nan", "schedule.rate = nan: Input should be a finite number"),
        ("schedule.steps=0", "steps or epochs must be over 0"),
        ("schedule.shape=square", "schedule.shape = 'square'"),
        ("schedule.speed=1", "unknown setting schedule.speed; known: accumulate"),
        ("speed", "expected section.key=value"),
    ],
)
def test_mistakes_are_named(change: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        load_training("small", "med", (change,))


def test_an_unknown_recipe_is_told_which_there_are() -> None:
    with pytest.raises(ConfigError, match="recipe 'nope' is not known; there are: blip, small"):
        load_training("nope", "med")


@pytest.mark.parametrize(
    ("change", "old", "new"),
    [
        ("objectives.words=0.5", "objectives.words", "objectives.token_itm"),
        ("schedule.least=0.5", "schedule.least", "schedule.min_ratio"),
        ("optimiser.clip=0.5", "optimiser", "optimizer"),
    ],
)
def test_a_setting_works_by_its_old_name_with_one_line_of_warning(change: str, old: str, new: str) -> None:
    with pytest.warns(FutureWarning) as told:
        recipe = load_training("small", "med", (change,))
    assert recipe == load_training("small", "med", (change.replace(old, new),))
    assert [str(one.message) for one in told] == [
        f"recipe small (med): {old} is now called {new}; the old name works until the next release"
    ]


def test_an_old_recipe_file_works_by_its_old_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'base = "small"\n[optimiser]\nclip = 0.5\n[med.objectives]\nwords = 1.0\n[med.optimiser]\nbeta1 = 0.8\n'
    )
    with pytest.warns(FutureWarning) as told:
        recipe = load_training(str(path), "med")
    assert (recipe.optimizer.clip, recipe.optimizer.beta1, recipe.objectives.token_itm) == (0.5, 0.8, 1.0)
    assert len(told) == 2


def test_a_training_of_the_old_names_is_no_other_training() -> None:
    new = load_training("small", "med").model_dump(mode="json")
    old = load_training("small", "med").model_dump(mode="json")
    old["optimiser"] = old.pop("optimizer")
    old["objectives"]["words"] = old["objectives"].pop("token_itm")
    old["schedule"]["least"] = old["schedule"].pop("min_ratio")
    del old["dropout"]  # a section that did not exist: it had its defaults
    assert not changed_training(old, new, set())
    old["optimiser"]["clip"] = 7.0
    assert changed_training(old, new, set()) == "optimizer.clip was 7.0, now 1.0"

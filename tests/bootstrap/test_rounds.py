"""The loop without its models: which commands are typed, what is skipped, made anew or refused, and when it stops."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer

from capfilt.bootstrap.bootstrap import steps
from capfilt.bootstrap.config import FOLDER, BootstrapRecipe, StopSettings, load_bootstrap
from capfilt.bootstrap.step_cache import digest, run_step
from capfilt.bootstrap.steps import Step
from capfilt.bootstrap.summary import RoundSummary, stop_reason, summarize_round
from capfilt.cli import app
from capfilt.core.errors import ChangedError, ConfigError, RunFailed
from capfilt.pipelines.recipes.load import load_recipe, recipe_names

DATA = ('data.web=["web.parquet"]', 'data.human=["human.parquet"]', 'data.test=["test.parquet"]')


@pytest.fixture
def loop() -> BootstrapRecipe:
    return load_bootstrap("small", DATA)


def all_steps(loop: BootstrapRecipe, out: Path) -> list[Step]:
    first = [steps.raw(loop, out), steps.pretrain(loop, out, 0), *steps.evaluate(loop, out, 0)]
    second = [*steps.tune(loop, out, 1), steps.clean(loop, out, 1), steps.pretrain(loop, out, 1)]
    return [*first, *second]


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("name", recipe_names(FOLDER))
def test_every_step_is_a_command_that_the_command_line_takes(name: str, count: int) -> None:
    """Options and arguments are parsed by the real commands, and the settings by their recipes."""
    from capfilt.pipelines.recipes.load import load_recipe
    from capfilt.training.recipes import load_training

    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for step in all_steps(
        load_bootstrap(name, (*DATA, f"captioner.count={count}", f"filter.count={count}")), Path("OUT")
    ):
        words = list(step.command)
        parsed = commands[words[0]].make_context(words[0], words[1:]).params
        settings = tuple(parsed.get("settings") or ())
        if words[0] == "run":
            recipe = load_recipe(parsed["recipe"], settings)
            assert recipe.caption.n == (0 if step.name == "raw" else 1)
        if words[0] == "train":
            load_training(parsed["recipe"], parsed["task"], settings)


def test_validation_pairs_are_measured_apart_from_test_pairs(tmp_path: Path) -> None:
    apart = load_bootstrap("small", (*DATA, 'data.validation=["val.parquet"]'))
    test, validation = steps.evaluate(apart, tmp_path, 0)
    assert (test.command[1], validation.command[1]) == ("test.parquet", "val.parquet")
    assert (test.makes.name, validation.makes.name) == ("scores.json", "validation.json")
    few, many = ({"distinct_2": share, "vocabulary": 10 * share} for share in (0.5, 1.0))
    scores = {"captions": {"bleu_4": 0.1, "cider": 1.0}, "auc": {}, "human": many}
    for step, recall, drawn in ((test, 0.9, many), (validation, 0.2, few)):
        step.makes.parent.mkdir(exist_ok=True)
        step.makes.write_text(json.dumps({**scores, "drawn": drawn, "retrieval": {"tr_1": recall, "ir_1": recall}}))
    found = summarize_round(tmp_path, 0, validated=True)
    assert (found.deciding, found.retrieval, found.distinct) == (0.2, 0.9, 0.5)
    assert summarize_round(tmp_path, 0, validated=False).deciding == 0.9


def test_filters_that_decide_together_vote(loop: BootstrapRecipe) -> None:
    both = loop.model_copy(update={"filter": loop.filter.model_copy(update={"count": 2, "votes": 2})})
    command = " ".join(steps.clean(both, Path("OUT"), 1).command)
    assert 'score.judges=["f0=OUT/round-1/filter-0", "f1=OUT/round-1/filter-1"]' in command
    assert "select.policy=ensemble" in command
    assert 'select.judges=["itm_f0", "itm_f1"]' in command
    assert "select.votes=2" in command
    assert [step.name for step in steps.tune(both, Path("OUT"), 1)][1:] == ["round-1/filter-0", "round-1/filter-1"]


@pytest.mark.parametrize("count", [1, 2])
def test_a_clip_of_each_round_votes_beside_the_filters(count: int) -> None:
    loop = load_bootstrap("small", (*DATA, "clip.train=true", "clip.threshold=0.3", f"filter.count={count}"))
    *_, clip = steps.tune(loop, Path("OUT"), 2)
    assert clip.command[:4] == ("train", "clip", "OUT/round-1/run/corpus", "human.parquet")
    assert "--start" not in clip.command
    assert str(clip.makes) == "OUT/round-2/clip"
    step = steps.clean(loop, Path("OUT"), 2)
    recipe = load_recipe("blip", tuple(step.command[step.command.index("--set") + 1 :: 2]))
    assert recipe.score.judges[-1] == "OUT/round-2/clip"
    assert recipe.select.policy == "ensemble"
    assert recipe.select.judges == (*(("itm",) if count == 1 else ("itm_f0", "itm_f1")), "clip")
    assert recipe.select.thresholds == (*[0.5] * count, 0.3)
    assert "OUT/round-2/clip" in step.reads


def test_captioners_that_work_together_all_write(loop: BootstrapRecipe) -> None:
    both = loop.model_copy(update={"captioner": loop.captioner.model_copy(update={"count": 2})})
    made = ["OUT/round-1/captioner-0", "OUT/round-1/captioner-1"]
    step = steps.clean(both, Path("OUT"), 1)
    assert f"caption.captioner={json.dumps(made)}" in step.command
    assert set(made) < set(step.reads)
    tuned = steps.tune(both, Path("OUT"), 1)
    assert [str(step.makes) for step in tuned] == [*made, "OUT/round-1/filter"]
    assert [step.command[step.command.index("--seed") + 1] for step in tuned[:2]] == ["0", "1"]


def test_a_new_model_starts_from_nothing_and_tuned_ones_from_the_round_before(loop: BootstrapRecipe) -> None:
    assert "--start" not in steps.pretrain(loop, Path("OUT"), 2).command
    for step in steps.tune(loop, Path("OUT"), 2):
        assert step.command[step.command.index("--start") + 1] == "OUT/round-1/med"


@pytest.fixture
def step(tmp_path: Path) -> Step:
    (tmp_path / "in.txt").write_text("one")
    return Step("round-1/x", ("copy", "a b"), (str(tmp_path / "in.txt"),), tmp_path / "out" / "made")


def copy(step: Step) -> int:
    """A command that adds to what it makes, as one does that goes on where it was killed."""
    step.makes.mkdir(parents=True, exist_ok=True)
    with (step.makes / "text").open("a") as stream:
        stream.write(Path(step.reads[0]).read_text())
    return 0


def test_a_step_is_done_once_and_again_when_what_it_reads_or_says_has_changed(step: Step, tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "out"
    assert run_step(step, out, lambda _: copy(step), said.append)
    assert not run_step(step, out, lambda _: copy(step), said.append)
    assert said == ["round-1/x: capfilt copy 'a b'", "unchanged: round-1/x"]
    (tmp_path / "in.txt").write_text("two")
    assert run_step(step, out, lambda _: copy(step), said.append)
    assert (step.makes / "text").read_text() == "two"
    other = replace(step, command=("copy", "c"))
    assert run_step(other, out, lambda _: copy(step), said.append)
    (step.makes / "text").unlink()
    step.makes.rmdir()
    assert run_step(other, out, lambda _: copy(step), said.append)


def test_a_step_that_was_killed_goes_on(step: Step, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def killed(_: tuple[str, ...]) -> int:
        copy(step)
        raise Killed

    with pytest.raises(Killed):
        run_step(step, tmp_path / "out", killed, print)
    assert run_step(step, tmp_path / "out", lambda _: copy(step), print)
    assert (step.makes / "text").read_text() == "oneone"


def test_a_step_that_fails_is_told_and_tried_again(step: Step, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"step round-1/x failed with exit code 2"):
        run_step(step, tmp_path / "out", lambda _: 2, print)
    assert run_step(step, tmp_path / "out", lambda _: copy(step), print)


def test_what_nobody_made_is_left_alone(step: Step, tmp_path: Path) -> None:
    step.makes.mkdir(parents=True)
    (step.makes / "mine").write_text("precious")
    with pytest.raises(ChangedError, match="was not written by a bootstrap"):
        run_step(step, tmp_path / "out", lambda _: 0, print)
    assert (step.makes / "mine").read_text() == "precious"


def test_a_digest_is_of_names_and_bytes_but_not_of_the_course_of_a_training(tmp_path: Path) -> None:
    (tmp_path / "a" / "training").mkdir(parents=True)
    (tmp_path / "a" / "w").write_text("1")
    first = digest(str(tmp_path / "a"))
    (tmp_path / "a" / "training" / "metrics.jsonl").write_text("1")
    assert digest(str(tmp_path / "a")) == first
    (tmp_path / "a" / "w").rename(tmp_path / "a" / "v")
    assert digest(str(tmp_path / "a")) != first
    assert digest("s3://bucket/list.parquet") != digest("s3://bucket/other.parquet")


def numbers(number: int, retrieval: float, distinct: float = 1.0, vocabulary: float = 1.0) -> RoundSummary:
    rest = {"texts": {}, "noise": {}, "kept": {}, "bleu_4": 0.0, "cider": 0.0, "auc": None}
    both = {"deciding": retrieval, "retrieval": 1 - retrieval, "tr_1": retrieval, "ir_1": retrieval}
    return RoundSummary(round=number, distinct=distinct, vocabulary=vocabulary, **rest, **both)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rounds", "why"),
    [
        ([numbers(0, 0.4), numbers(1, 0.6)], ""),
        ([numbers(0, 0.4), numbers(1, 0.39)], ""),
        ([numbers(0, 0.4), numbers(1, 0.6), numbers(2, 0.5)], r"R@1 fell from 60\.0 % \(round 1\) to 50\.0 %"),
        (
            [numbers(0, 0.4), numbers(1, 0.6, distinct=0.2)],
            r"distinct-2 of sampled captions is 20 % of human captions'",
        ),
        (
            [numbers(0, 0.4), numbers(1, 0.6, vocabulary=0.3)],
            r"vocabulary of sampled captions is 30 % of human captions'",
        ),
        ([numbers(0, 0.4, distinct=0.1)], ""),
    ],
)
def test_it_stops_when_scores_fall_or_diversity_collapses(rounds: list[RoundSummary], why: str) -> None:
    import re

    said = stop_reason(rounds, StopSettings())
    assert bool(said) == bool(why)
    assert re.search(why, said)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ((), "data.web must not be empty"),
        ((*DATA, "filter.votes=2"), r"filter\.votes = 2 must not exceed 1, the number of voters"),
        ((*DATA, "filter.votes=3", "clip.train=true"), r"filter\.votes = 3 must not exceed 2"),
        ((*DATA, "stop.fal=1"), r"unknown setting stop.fal; known: diversity, fall"),
    ],
)
def test_mistakes_are_named(changes: tuple[str, ...], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_bootstrap("small", changes)


def test_notes_are_plain_json(step: Step, tmp_path: Path) -> None:
    run_step(step, tmp_path / "out", lambda _: copy(step), print)
    note = json.loads((tmp_path / "out" / "steps" / "round-1-x.json").read_text())
    assert note["command"] == ["copy", "a b"]
    assert note["done"] is True

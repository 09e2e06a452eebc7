"""The steps of the loop: each is a command that a person could type.

| step | command | makes |
|---|---|---|
| raw | `run` without models, policy `all` | `raw/`: the web's pairs as they are, fetched once |
| round-0/med | `train med` on raw and human pairs | the model that the first round starts from |
| round-N/captioner, round-N/filter | `train captioner`, `train filter` on human pairs | from round N-1's model, apart |
| round-N/clip | `train clip` on what round N-1 kept and human pairs, with `clip.train` | a NEW judge |
| round-N/run | `run` on the images of raw | what is kept of web and synthetic texts |
| round-N/med | `train med` on what was kept and human pairs | a NEW model, from scratch |
| round-N/scores.json | `evaluate` on test pairs | how good that model is |
| round-N/validation.json | `evaluate` on validation pairs | whether to stop, and which round is best |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from capfilt.bootstrap.config import BootstrapRecipe, CommandSettings, Ensemble
from capfilt.core.serialization import setting
from capfilt.pipelines.recipes.load import load_recipe


@dataclass(frozen=True, slots=True)
class Step:
    """A command, what it reads and what it makes."""

    name: str
    command: tuple[str, ...]  # behind `capfilt`
    reads: tuple[str, ...]
    makes: Path


def raw(loop: BootstrapRecipe, out: Path) -> Step:
    """Read or fetch the web's pairs once."""
    made = out / "raw"
    own = _settings((*loop.run.set, "caption.n=0", "score.judges=[]", "select.policy=all"))
    web = loop.data.web
    return Step("raw", ("run", *web, "--out", str(made), "--recipe", loop.run.recipe, *own), web, made)


def pretrain(loop: BootstrapRecipe, out: Path, number: int) -> Step:
    """A new model on the corpus of this round; that of round 0 is the web as it is."""
    made = out / f"round-{number}" / "med"
    return _train("med", loop.pretrain, (_corpus(out, number), *loop.data.human), made, ())


def _corpus(out: Path, number: int) -> str:
    """What a round kept; round 0 keeps all."""
    return str(out / "raw" / "corpus" if number == 0 else out / f"round-{number}" / "run" / "corpus")


def tune(loop: BootstrapRecipe, out: Path, number: int) -> list[Step]:
    """Captioners and filters, apart, from the model of the round before; and a CLIP, if it is to vote."""
    start, home = out / f"round-{number - 1}" / "med", out / f"round-{number}"
    steps = []
    for task, how in (("captioner", loop.captioner), ("filter", loop.filter)):
        for seed, folder in enumerate(folders(home, task, how)):
            own = ("--seed", str(seed)) if how.count > 1 else ()
            steps.append(_train(task, how, loop.data.human, Path(folder), (start,), own))
    if loop.clip.train:
        steps.append(_train("clip", loop.clip, (_corpus(out, number - 1), *loop.data.human), home / "clip", ()))
    return steps


def folders(home: Path, task: str, how: Ensemble) -> list[str]:
    """Where a round's captioners, or filters, are."""
    return [str(home / task)] if how.count == 1 else [str(home / f"{task}-{k}") for k in range(how.count)]


def clean(loop: BootstrapRecipe, out: Path, number: int) -> Step:
    """Caption and judge the web's images, and keep what the filter, or most filters, let through."""
    home, source = out / f"round-{number}", out / "raw" / "corpus"
    writers = folders(home, "captioner", loop.captioner)
    filters = folders(home, "filter", loop.filter)
    clip = [str(home / "clip")] if loop.clip.train else []
    several = len(filters) > 1
    settings = (
        *loop.run.set,
        setting("caption.captioner", writers if len(writers) > 1 else writers[0]),
        setting("score.judges", [*(f"f{k}={path}" if several else path for k, path in enumerate(filters)), *clip]),
        *(_voting(loop, several) if several or clip else ()),
        f"caption.round={number}",
    )
    made = home / "run"
    command = ("run", str(source), "--out", str(made), "--recipe", loop.run.recipe, *_settings(settings))
    return Step(f"round-{number}/run", command, (str(source), *writers, *filters, *clip), made)


def _voting(loop: BootstrapRecipe, several: bool) -> list[str]:
    """How filters, and a CLIP if there is one, decide together."""
    columns = [f"itm_f{k}" for k in range(loop.filter.count)] if several else ["itm"]
    votes = ["select.policy=ensemble", f"select.votes={loop.filter.votes}"]
    if not loop.clip.train:
        return [*votes, setting("select.judges", columns)]
    own = load_recipe(loop.run.recipe, loop.run.set).select.threshold
    thresholds = [*[own] * len(columns), loop.clip.threshold]
    return [*votes, setting("select.judges", [*columns, "clip"]), setting("select.thresholds", thresholds)]


def evaluate(loop: BootstrapRecipe, out: Path, number: int) -> list[Step]:
    """Held-out scores of a round's model: on the test set, and on the validation set if there is one."""
    home = out / f"round-{number}"
    model = str(home / "med")
    parts = [("scores", loop.data.test), *([("validation", loop.data.validation)] if loop.data.validation else [])]
    steps = []
    for name, data in parts:
        made = home / f"{name}.json"
        command = ("evaluate", *data, "--captioner", model, "--judge", model, "--out", str(made))
        steps.append(Step(f"round-{number}/{name}", command, (model, *data), made))
    return steps


def _train(
    task: str,
    call: CommandSettings,
    data: Sequence[str],
    made: Path,
    start: tuple[Path, ...],
    more: tuple[str, ...] = (),
) -> Step:
    begin = ("--start", str(start[0])) if start else ()
    options = ("--out", str(made), "--recipe", call.recipe, *begin, *more, *_settings(call.set))
    reads = (*data, *(str(folder) for folder in start))
    return Step(f"{made.parent.name}/{made.name}", ("train", task, *data, *options), reads, made)


def _settings(changes: Sequence[str]) -> tuple[str, ...]:
    return tuple(word for change in changes for word in ("--set", change))

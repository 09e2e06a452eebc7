"""A training killed by SIGKILL goes on where its last state is, and ends with the same bits."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from capfilt.core.errors import ChangedError, ConfigError, ModelError, RunFailed
from capfilt.core.serialization import to_toml
from capfilt.models.formats.weights import load_med, save_med
from capfilt.models.med.model import MED
from capfilt.models.tokenizer import Tokenizer
from capfilt.models.training.loop import TrainProgress
from capfilt.models.training.state import load_state, save_state
from capfilt.training.metrics import Metrics, read_metrics
from capfilt.training.recipes import load_training
from capfilt.training.train import Listener, Request, train

SETTINGS = (
    "schedule.steps=14",
    "schedule.batch=8",
    "schedule.accumulate=2",
    "objectives.momentum=0.9",
    "objectives.queue=20",
    "objectives.alpha=0.4",
    "objectives.token_itm=1",
    "dropout.text=0.1",
    "dropout.path=0.1",
    "data.marked=1",
    "data.share={web=0.4, human=0.6}",
    "work.log_every=2",
    "work.save_every=3",
)

KILLER = """
import os, signal, sys
from pathlib import Path
from capfilt.training.train import Listener, Request, train
from capfilt.training.metrics import Metrics, read_metrics
from capfilt.training.recipes import load_training

data, start, settings, *attempts = sys.argv[1:]
recipe = load_training("small", "med", (f"model.start={start}", *settings.split(";")))
# Once, for all children: what training imports when it needs it, and what an optimizer does.
import torch, pyarrow.dataset, tensorboardX
import capfilt.models.systems.med.task, capfilt.models.training.activation_checkpointing, capfilt.models.training.loop
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])

def attempt(out, kill):
    def die(now):
        if now == kill:
            os.kill(os.getpid(), signal.SIGKILL)
    fsync = os.fsync
    def sync(number):
        fsync(number)
        die(f"writing {os.path.basename(os.readlink(f'/proc/self/fd/{number}'))}")
    os.fsync = sync
    train(Request("med", (data,), Path(out), recipe), Listener(print, lambda p: die(f"step {p.step}")))

for out, kill in zip(attempts[::2], attempts[1::2]):
    child = os.fork()
    if not child:
        torch.set_num_threads(1)
        attempt(out, kill)
        os._exit(0)
    print(kill, os.waitpid(child, 0)[1], flush=True)
"""


@pytest.fixture
def start(med: MED, tokenizer: Tokenizer, tmp_path: Path) -> Path:
    folder = tmp_path / "start"
    save_med(folder, med, tokenizer, ("captioner", "filter"))
    return folder


def run(data: Path, start: Path, *attempts: str) -> list[str]:
    command = [sys.executable, "-c", KILLER, str(data), str(start), ";".join(SETTINGS), *attempts]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


def curve(out: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "pairs_per_second"} for line in lines]


def assert_same(left: Any, right: Any, where: str = "state") -> None:
    assert type(left) is type(right), where
    if isinstance(left, torch.Tensor):
        assert torch.equal(left, right), where
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}.{key}")
    elif isinstance(left, list):
        for number, pair in enumerate(zip(left, right, strict=True)):
            assert_same(*pair, f"{where}.{number}")
    else:
        assert left == right, where


def test_killed_anywhere_it_ends_with_the_same_bits(pairs_file: Path, start: Path, tmp_path: Path) -> None:
    """Killed before the first state, between two states, while a state is written, and after the last line."""
    kills = ("step 2", "step 8", "writing .state.pt", "step 10", "step 14", "never")
    attempts = [(str(tmp_path / "whole"), "never"), *((str(tmp_path / "killed"), kill) for kill in kills)]
    said = run(pairs_file, start, *(word for attempt in attempts for word in attempt))
    ends = [line for line in said if line.startswith(kills)]
    assert ends == ["never 0", *(f"{kill} 9" for kill in kills[:-1]), "never 0"]
    resumed = [line for line in said if line.startswith("resuming")]
    assert resumed == [f"resuming at step {step}" for step in (6, 6, 9, 12)]
    assert len(curve(tmp_path / "whole")) == 7
    assert curve(tmp_path / "whole") == curve(tmp_path / "killed")
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    states = [load_state(tmp_path / name / "training" / "state.pt") for name in ("whole", "killed")]
    assert_same(*states)
    assert states[0]["step"] == 14
    assert {"queue.images", "queue._extra_state", "slow.model.vision_proj.weight"} <= states[0]["task"].keys()


def request(data: Path, start: Path, out: Path, *settings: str) -> Request:
    return Request("med", (str(data),), out, load_training("small", "med", (f"model.start={start}", *settings)))


def test_the_same_again_does_nothing_and_another_is_refused(pairs_file: Path, start: Path, tmp_path: Path) -> None:
    short = ("schedule.steps=2", "schedule.batch=8", "work.log_every=1")
    out = tmp_path / "out"
    assert train(request(pairs_file, start, out, *short)).steps_now == 2
    before = (out / "model.safetensors").stat().st_mtime_ns
    assert train(request(pairs_file, start, out, *short, "work.save_every=7")).steps_now == 0
    assert (out / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(ChangedError, match=r"schedule\.rate was 0\.001, now 0\.1"):
        train(request(pairs_file, start, out, *short, "schedule.rate=0.1"))
    (start / "config.json").write_text((start / "config.json").read_text() + "\n")
    with pytest.raises(ChangedError, match="checkpoints changed"):
        train(request(pairs_file, start, out, *short))
    assert train(request(pairs_file, start, out, *short), fresh=True).steps_now == 2


def test_a_refused_training_does_not_take_the_place_of_the_right_one(
    pairs_file: Path, start: Path, tmp_path: Path
) -> None:
    out, two = tmp_path / "out", "schedule.steps=2"
    with pytest.raises(ConfigError, match=r"schedule\.batch = 4000: .* has only 40 images"):
        train(request(pairs_file, start, out, two, "schedule.batch=4000"))
    assert train(request(pairs_file, start, out, two, "schedule.batch=8")).steps_now == 2


def test_a_state_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    save_state(path, {"step": 1, "weights": torch.ones(3), "words": ["a"]})
    (tmp_path / ".state.pt").write_bytes(b"half a st")  # what a kill leaves of the next one
    assert load_state(path)["weights"].tolist() == [1, 1, 1]
    path.write_bytes(b"not one at all")
    with pytest.raises(ModelError, match="not a state of a training"):
        load_state(path)


def test_a_training_of_the_release_before_goes_on(pairs_file: Path, start: Path, tmp_path: Path) -> None:
    """Settings, optimizer and a loss had other names then, and a setting of today was not there."""
    settings = (
        "schedule.batch=8",
        "schedule.steps=6",
        "objectives.token_itm=1",
        "work.log_every=4",
        "work.save_every=3",
    )
    whole, out = tmp_path / "whole", tmp_path / "out"
    train(request(pairs_file, start, whole, *settings))

    def stop(progress: TrainProgress) -> None:
        raise InterruptedError(progress.step)

    with pytest.raises(InterruptedError):
        train(request(pairs_file, start, out, *settings), Listener(log=stop))
    home = out / "training"
    recipe = tomllib.loads((home / "recipe.toml").read_text())
    for section, old, new in (("", "optimiser", "optimizer"), ("objectives", "words", "token_itm")):
        owner = recipe["recipe"][section] if section else recipe["recipe"]
        owner[old] = owner.pop(new)
    del recipe["recipe"]["data"]["crop"]
    (home / "recipe.toml").write_text(to_toml(recipe))
    state = load_state(home / "state.pt")
    state["optimiser"] = state.pop("optimizer")
    state["sums"] = [{{"token_itm": "words"}.get(name, name): value for name, value in state["sums"][0].items()}]
    assert (state["step"], "words" in state["sums"][0]) == (3, True)
    save_state(home / "state.pt", state)
    assert train(request(pairs_file, start, out, *settings)).steps_now == 3
    assert curve(out) == curve(whole)
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_what_a_training_leaves(pairs_file: Path, start: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    train(
        request(pairs_file, start, tmp_path / "out", "schedule.steps=4", "schedule.batch=8", "work.log_every=2"),
        Listener(lines.append),
    )
    assert lines[0] == "40 images with 200 texts: 80 web, 120 human"
    names = {path.name for path in (tmp_path / "out" / "training").iterdir()}
    assert names == {"recipe.toml", "state.pt", "metrics.jsonl", "losses.svg", "tensorboard"}
    svg = (tmp_path / "out" / "training" / "losses.svg").read_text()
    assert svg.count("<polyline") == 3
    assert list((tmp_path / "out" / "training" / "tensorboard").glob("events.out.tfevents.*"))


def test_a_training_that_diverges_names_its_step_and_keeps_what_was_saved(
    pairs_file: Path, start: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    wild = ("schedule.steps=60", "schedule.batch=8", "schedule.rate=1e30", "schedule.warmup=0.2", "optimizer.clip=0")
    often = ("work.save_every=1", "work.log_every=1", "objectives.momentum=0.9", "schedule.warmup_from=1e-4")
    recipe = load_training("small", "med", (f"model.start={start}", *wild, *often))
    with pytest.raises(RunFailed, match=r"is (nan|inf|-inf) at step \d+; what was saved before is kept") as caught:
        train(Request("med", (str(pairs_file),), out, recipe))
    step = int(re.search(r"at step (\d+)", str(caught.value))[1])  # type: ignore[index]
    assert step > 1
    kept = load_state(out / "training" / "state.pt")
    assert kept["step"] == step - 1
    model, _ = load_med(out)
    assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
    for line in (out / "training" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_momentum_without_a_queue_trains(pairs_file: Path, start: Path, tmp_path: Path) -> None:
    settings = ("schedule.steps=2", "schedule.batch=4", "objectives.momentum=0.9", f"model.start={start}")
    done = train(Request("med", (str(pairs_file),), tmp_path / "out", load_training("small", "med", settings)))
    assert done.steps_now == 2


def test_metrics_stay_json_whatever_a_loss_is(tmp_path: Path) -> None:
    metrics = Metrics(tmp_path, 0)
    for step, loss in ((1, 2.0), (2, float("nan")), (3, float("inf"))):
        metrics.add(TrainProgress(step, 3, {"itc": loss}, 1e-4, 10.0, 0.0))
    metrics.close()
    assert [line["itc"] for line in read_metrics(tmp_path)] == [2.0, None, None]
    assert "NaN" not in (tmp_path / "metrics.jsonl").read_text()

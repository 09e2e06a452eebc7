"""Two workers and one process learn the same: the losses of every step to 1e-5, and the same weights."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from capfilt.core.errors import ConfigError
from capfilt.models.formats.weights import save_med
from capfilt.models.med.model import MED
from capfilt.models.tokenizer import Tokenizer
from capfilt.training.recipes import load_training

MOMENTUM = ("objectives.momentum=0.9", "objectives.queue=20", "objectives.alpha=0.4")
SETTINGS = {
    "med": (*MOMENTUM, "objectives.token_itm=1", "data.marked=1", "schedule.accumulate=2"),
    "qformer": ("queries.queries=4",),
    "flip": ("model.image_size=16", "contrast.part=3"),
    "siglip": ("model.image_size=16",),
}
COMMON = ("schedule.steps=3", "schedule.batch=8", "schedule.rate=1e-4", "work.log_every=1", "work.save_every=2")

BOTH = """
import json, os, sys
from pathlib import Path
import torch, pyarrow.dataset, tensorboardX
from torch import distributed
from capfilt.models.training.group import Group
from capfilt.training.train import Listener, Request, work
from capfilt.training.config import ask
from capfilt.training.recipes import load_training
from capfilt.models.systems.registry import SYSTEMS

data, home, settings = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])

def train(out, rank, size):
    torch.set_num_threads(1)
    if size > 1:
        meeting = f"file://{home}/meeting"
        distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    for task, own in settings.items():
        recipe = load_training("small", task, tuple(own))
        foundation = SYSTEMS[task].check(ask(SYSTEMS[task], recipe))
        work(Request(task, (data,), home / out / task, recipe), foundation, Listener(), Group(rank, size))
    os._exit(0)

children = []
for place in (("one", 0, 1), ("two", 0, 2), ("two", 1, 2)):
    child = os.fork()
    if not child:
        train(*place)
    children.append(child)
sys.exit(any([os.waitpid(child, 0)[1] for child in children]))
"""


@pytest.fixture(scope="module")
def trained(pairs_file: Path, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory, strong: MED) -> Path:
    """Folders `one` and `two` of what one process and two workers made, a folder a task."""
    home = tmp_path_factory.mktemp("workers")
    save_med(home / "start", strong, tokenizer, ("captioner", "filter"))
    starts = {"med": (f"model.start={home / 'start'}",), "qformer": (f"model.vision={home / 'start'}",)}
    settings = json.dumps({task: (*COMMON, *own, *starts.get(task, ())) for task, own in SETTINGS.items()})
    command = [sys.executable, "-c", BOTH, str(pairs_file), str(home), settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return home


@pytest.mark.slow
@pytest.mark.parametrize("task", SETTINGS)
def test_two_workers_learn_what_one_process_learns(trained: Path, task: str) -> None:
    one, two = (trained / name / task for name in ("one", "two"))
    assert len(losses(one)) == 3
    for mine, theirs in zip(losses(one), losses(two), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)
    weights = [load_file(out / "model.safetensors") for out in (one, two)]
    for name, tensor in weights[0].items():
        assert (tensor - weights[1][name]).abs().max() < 1e-3, name


def losses(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("rate", "pairs_per_second")} for line in lines]


def test_a_batch_must_be_shared_evenly() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.batch = 9 is not a multiple of work\.workers = 2"):
        load_training("small", "med", ("schedule.batch=9", "work.workers=2"))

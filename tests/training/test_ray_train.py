"""Two workers of Ray Train, and one process: the same losses to 1e-5. `make test-slow`: Ray takes its time to start."""

import json
import os
from pathlib import Path

import pytest

from capfilt.core.errors import ModelError
from capfilt.models.formats.weights import save_med
from capfilt.models.med.model import MED
from capfilt.models.tokenizer import Tokenizer
from capfilt.training.recipes import load_training
from capfilt.training.train import Listener, Request, train

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not os.environ.get("CAPFILT_SLOW"), reason="half a minute; make test-slow runs it"),
]

SETTINGS = ("schedule.steps=4", "schedule.batch=8", "schedule.rate=1e-4", "work.log_every=1", "objectives.momentum=0.9")


def losses(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in ("rate", "pairs_per_second")} for line in lines]


def test_ray_train_learns_what_one_process_learns(
    pairs_file: Path, med: MED, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    save_med(tmp_path / "start", med, tokenizer, ("captioner", "filter"))
    said: list[str] = []
    for workers in (1, 2):
        settings = (*SETTINGS, "objectives.queue=20", f"model.start={tmp_path / 'start'}", f"work.workers={workers}")
        request = Request(
            "med", (str(pairs_file),), tmp_path / f"out-{workers}", load_training("small", "med", settings)
        )
        outcome = train(request, Listener(said.append))
        assert (outcome.steps, outcome.steps_now) == (4, 4)
    for mine, theirs in zip(losses(tmp_path / "out-1"), losses(tmp_path / "out-2"), strict=True):
        assert mine == pytest.approx(theirs, abs=1e-5)
    assert said[: len(said) // 2] == said[len(said) // 2 :]
    assert {path.name for path in (tmp_path / "out-2").iterdir()} >= {"config.json", "model.safetensors", "training"}
    assert not (tmp_path / "out-2" / "training" / "ray").exists()
    (tmp_path / "out-2" / "training" / "state.pt").write_bytes(b"no state")
    with pytest.raises(ModelError, match="not a state of a training"):  # a worker's error is told as it was raised
        train(request)

"""`make bench-train`: a pretraining step of MED-base beside the same step on the modules of `transformers`.

Each side runs in a process of its own: forward, backward, AdamW and momentum, at the paper's sizes but for the batch.
Ours is measured twice, the second time with `model.checkpointing`. On a CPU seconds are CPU time of the process, so
that a busy machine counts little; on a GPU they are the clock's, the forward pass is in bfloat16, and memory is the
device's.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

TEXTS = (
    "a brown dog runs along the beach with a red ball",
    "two people ride a bus through the city in the rain",
    "a man in a hat",
    "children play football on a wide green field while their parents watch from the side",
)
SIDES = ("ours", "ours, checkpointed", "transformers")
VOCABULARY = 30524


def texts(count: int) -> list[str]:
    """Captions of 5 to 16 words, no two alike."""
    return [f"{TEXTS[n % len(TEXTS)]} {n}" for n in range(count)]


def ours(asked: argparse.Namespace) -> Callable[[], Any]:
    """A step of ours."""
    from capfilt.models.med.config import SIZES
    from capfilt.models.med.model import MED
    from capfilt.models.systems.med.task import MEDTask
    from capfilt.models.tokenizer import Tokenizer
    from capfilt.models.training.activation_checkpointing import checkpoint_layers
    from capfilt.models.training.batch import Batch
    from capfilt.models.training.settings import AdamW, Objectives

    shape = {"image_size": asked.image_size, "vision_layers": asked.layers, "text_layers": asked.layers}
    tokenizer = Tokenizer.from_words(TEXTS, min_count=1)
    model = MED(replace(SIZES["med-base"], vocab_size=VOCABULARY, **shape))
    task = MEDTask(
        model, tokenizer, Objectives(itc=1, itm=1, lm=1, momentum=0.995, queue=asked.queue, alpha=0.4, ramp=0)
    )
    assert task.queue is not None
    task.queue.filled = asked.queue  # as after the first epoch
    task.to(asked.device)
    if asked.side == "ours, checkpointed":
        checkpoint_layers(model)
    optimizer = AdamW().build(task)
    images = torch.randint(0, 256, (asked.batch, asked.image_size, asked.image_size, 3), dtype=torch.uint8)
    batch = Batch(images, texts(asked.batch))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with precision(asked.device):
            loss, _ = task(batch)
        loss.backward()
        optimizer.step()
        task.after_update()

    return step


def theirs(asked: argparse.Namespace) -> Callable[[], Any]:
    """The same step on modules of `transformers`."""
    from reference import Step

    from capfilt.models.tokenizer import CLS, Tokenizer
    from capfilt.models.training.settings import AdamW

    task = Step(asked.image_size, asked.layers, VOCABULARY, asked.queue)
    task.train().to(asked.device)
    optimizer = AdamW().build(task)
    ids, mask = (
        t.to(asked.device) for t in Tokenizer.from_words(TEXTS, min_count=1).encode(texts(asked.batch), CLS, 30)
    )
    pixels = torch.randn(asked.batch, 3, asked.image_size, asked.image_size, device=asked.device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with precision(asked.device):
            loss = task(pixels, ids, mask.long())
        loss.backward()
        optimizer.step()
        task.follow()

    return step


def precision(device: str) -> AbstractContextManager[Any]:
    return torch.autocast(device, torch.bfloat16, enabled=device == "cuda")


def now(device: str, threads: int) -> float:
    """Seconds, of this process on a CPU and of the clock on a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time() / threads


def child(asked: argparse.Namespace) -> dict[str, Any]:
    """One side: seconds of each step after the first, and the most memory."""
    torch.manual_seed(0)
    torch.set_num_threads(asked.threads)
    step = (theirs if asked.side == "transformers" else ours)(asked)
    for _ in range(2 if asked.device == "cuda" else 1):
        step()
    seconds = []
    for _ in range(asked.steps):
        began = now(asked.device, asked.threads)
        step()
        seconds.append(now(asked.device, asked.threads) - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    peak = torch.cuda.max_memory_allocated() if asked.device == "cuda" else peak
    return {"seconds": seconds, "pairs_per_second": asked.batch / statistics.median(seconds), "peak_bytes": peak}


def _machine(asked: argparse.Namespace) -> str:
    if asked.device == "cuda":
        return f"one {torch.cuda.get_device_name()}, forward in bfloat16"
    return f"{platform.machine()}, {asked.threads} thread, CPU time of the process"


def main() -> None:
    """Both sides, and the ratio."""
    parser = argparse.ArgumentParser(prog="python tests/bench/train", description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--queue", type=int, default=57_600)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cpu", "cuda"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.side:
        print(json.dumps(child(asked)))
        return
    results: dict[str, Any] = {
        "date": date.today().isoformat(),
        "machine": f"{_machine(asked)}, torch {torch.__version__}",
        "command": " ".join(["python tests/bench/train", *sys.argv[1:]]),
        **{name: getattr(asked, name) for name in ("batch", "image_size", "layers", "queue", "steps")},
    }
    for side in SIDES:
        command = [sys.executable, __file__, *sys.argv[1:], "--side", side]
        results[side] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(side, results[side], flush=True)
    theirs_ = results["transformers"]
    results["ratios"] = {
        side: {what: results[side][what] / theirs_[what] for what in ("pairs_per_second", "peak_bytes")}
        for side in SIDES[:2]
    }
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for side, ratio in results["ratios"].items():
        print(f"{side}: {ratio['pairs_per_second']:.2f} times as fast, {ratio['peak_bytes']:.2f} of the memory")


if __name__ == "__main__":
    main()

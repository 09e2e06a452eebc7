"""What a trained checkpoint can do, on images that it has not seen: numbers by name."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
import torch
from hidden_patches import guesses
from torch import Tensor
from torch.nn import functional as F

from capfilt.demo.world.language import is_right
from capfilt.models.normalize import normalize
from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import Decoding
from capfilt.models.registry.registry import Placement, load_captioner, load_judge
from capfilt.models.systems.beit.block_mask import block_mask
from capfilt.models.systems.beit.task import teacher_features
from capfilt.models.systems.registry import SYSTEMS
from capfilt.models.training.batch import Batch
from capfilt.models.training.group import Group
from capfilt.pipelines.evaluation.evaluate import evaluate
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.training_data.pixel_store import decoded
from capfilt.training.config import ask
from capfilt.training.recipes import load_training

Numbers = dict[str, float]
AT_ONCE: Final = 50
CPU: Final = Placement(device="cpu")
LIKELIEST: Final = Decoding(top_p=1e-6, max_tokens=24, min_tokens=1)
SEEN: Final = 500
"""Images of which hidden patches are guessed."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was trained."""

    system: str
    folder: Path
    settings: Sequence[str]


def retrieval(trained: Checkpoint, file: Path) -> Numbers:
    """R@k both ways, as `capfilt evaluate` measures it."""
    judges = json.dumps([str(trained.folder)])
    found = evaluate([str(file)], load_recipe("blip", ("caption.n=0", f"score.judges={judges}")))
    facts = {"images": found.pictures, "texts": found.texts, "chance": 1 / found.pictures}
    return facts | found.retrieval


def captions(trained: Checkpoint, file: Path) -> Numbers:
    """The loss a token of the true captions with their own and with other images, and the captions that are right."""
    truths = pq.read_table(file)["truth"].to_pylist()
    pixels = images(file, _pixels(trained))
    captioner = load_captioner(str(trained.folder), CPU)
    told: list[str] = []
    for start in range(0, len(truths), AT_ONCE):
        shown = pixels[start : start + AT_ONCE]
        told += [one[0].text for one in captioner.caption(shown, [[0]] * len(shown), "", LIKELIEST)]
    task = _task(trained)
    return {
        "images": len(truths),
        "loss": loss(task, pixels, truths),
        "loss with another image": loss(task, pixels.roll(1, 0), truths),
        "captions right": float(np.mean([is_right(*pair) for pair in zip(told, truths, strict=True)])),
    }


@torch.no_grad()
def loss(task: Any, pixels: Tensor, texts: list[str]) -> float:
    """Of texts with images, a mean over the batches."""
    parts = range(0, len(texts), AT_ONCE)
    found = [task(Batch(pixels[at : at + AT_ONCE], texts[at : at + AT_ONCE]))[0].item() for at in parts]
    return float(np.mean(found))


def answers(trained: Checkpoint, file: Path) -> Numbers:
    """The share of questions answered as the world does, by kind, and of all with another image."""
    pixels = images(file, _pixels(trained))
    own, other = (_answered(trained, file, shown) for shown in (pixels, pixels.roll(1, 0)))
    every = [right for rights in other.values() for right in rights]
    shares = {f"right: {kind}": float(np.mean(rights)) for kind, rights in own.items()}
    return {"images": len(pixels), **shares, "right with another image": float(np.mean(every))}


def _answered(trained: Checkpoint, file: Path, pixels: Tensor) -> dict[str, list[bool]]:
    captioner, found = load_captioner(str(trained.folder), CPU), defaultdict(list)
    asked = defaultdict(list)
    for row, questions in enumerate(pq.read_table(file)["questions"].to_pylist()):
        for one in questions:
            asked[one["question"]].append((row, one["answers"][0]))
    for question, rows in asked.items():
        kind = question.rpartition(" ")[2] if question.startswith("what") and "background" in question else ""
        kind = kind or {"how m": "count", "how l": "size", "what ": "color"}[question[:5]]
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            shown = pixels[[row for row, _ in some]]
            told = captioner.caption(shown, [[0]] * len(some), question, LIKELIEST)
            found[kind] += [one[0].text == right for one, (_, right) in zip(told, some, strict=True)]
    return found


def regions(trained: Checkpoint, file: Path) -> Numbers:
    """How often a score follows the box where two things stand in an image, and retrieval of whole images."""
    judge: Any = load_judge(str(trained.folder), CPU)
    rows = pq.read_table(file).to_pylist()
    pixels = images(file, judge.pixels)
    texts = [[one["text"] for one in row["captions"]] for row in rows]
    boxes = [[one["box"] for one in row["captions"]] for row in rows]
    (name,) = judge.columns
    crossed = [(own[0], own[0], own[1], own[1]) for own in texts], [(own * 2) for own in boxes]
    scores = np.array(judge.score_regions(pixels, *map(list, crossed))[name])  # text 1 in box 1, 2; text 2 in 1, 2
    whole = retrieval(trained, file.with_name("test.parquet"))
    return {
        "images": len(rows),
        "text in its own box": float(np.mean([scores[:, 0] > scores[:, 1], scores[:, 3] > scores[:, 2]])),
        "box of its own text": float(np.mean([scores[:, 0] > scores[:, 2], scores[:, 3] > scores[:, 1]])),
        "whole images tr_1": whole["tr_1"],
        "whole images ir_1": whole["ir_1"],
    }


@torch.no_grad()
def rebuilt(trained: Checkpoint, file: Path) -> Numbers:
    """The squared error of hidden patches, beside that of guesses from the patches that are seen."""
    model = _task(trained).model
    pixels = images(file, _pixels(trained), SEEN)
    side, patch = int(model.config.image_size), int(model.config.patch_size)
    noise = torch.rand(len(pixels), (side // patch) ** 2, generator=torch.Generator().manual_seed(0))
    shown = normalize(pixels, torch.float32)
    found = model(shown, noise=noise)
    return {"images": len(pixels), "error": found.loss.item(), **guesses(shown, patch, found.mask.bool())}


@torch.no_grad()
def tokens(trained: Checkpoint, file: Path) -> Numbers:
    """The share of hidden visual tokens named right, beside guesses, and with the visible patches of another image."""
    task = _task(trained)
    pixels = images(file, _pixels(trained), SEEN)
    found = torch.cat(
        [task.codes(teacher_features(task.teacher, task.its, part).flatten(0, 1)) for part in pixels.split(AT_ONCE)]
    )
    found = found.view(len(pixels), -1)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.stack([block_mask(task.side, task.wanted.ratio, generator) for _ in pixels])
    right, other = (_named(task.model, shown, found, hidden) for shown in (pixels, pixels.roll(1, 0)))
    counts = F.one_hot(found, len(task.codes.centers)) * ~hidden[..., None]
    return {
        "images": len(pixels),
        "tokens in use": float((torch.bincount(found.flatten(), minlength=counts.shape[-1]) > 0).double().mean()),
        "right": right,
        "right with another image": other,
        "commonest token": float((found == counts.sum((0, 1)).argmax()).double()[hidden].mean()),
        "commonest token of the image": float((found == counts.sum(1).argmax(-1)[:, None]).double()[hidden].mean()),
    }


def _named(model: Any, pixels: Tensor, found: Tensor, hidden: Tensor) -> float:
    shown = normalize(pixels, torch.float32)
    logits = torch.cat(
        [model(a, bool_masked_pos=b).logits for a, b in zip(shown.split(AT_ONCE), hidden.split(AT_ONCE), strict=True)]
    )
    return float((logits.argmax(-1) == found)[hidden].double().mean())


def images(file: Path, pixels: PixelSpec, most: int | None = None) -> Tensor:
    """uint8 [B, S, S, 3], the first ones of a file as a run decodes them."""
    column = pq.read_table(file, columns=["image"]).slice(0, most)["image"].combine_chunks()
    return torch.from_numpy(decoded(column.field("bytes"), pixels)[0].copy())


def _asked(trained: Checkpoint) -> Any:
    own = [change for change in trained.settings if not change.startswith(("model.", "schedule."))]
    recipe = load_training("small", trained.system, (*own, f"model.start={json.dumps(str(trained.folder))}"))
    return ask(SYSTEMS[trained.system], recipe)


def _pixels(trained: Checkpoint) -> PixelSpec:
    asked = _asked(trained)
    return asked.system.check(asked).pixels


def _task(trained: Checkpoint) -> Any:
    asked = _asked(trained)
    return asked.system.code().build(asked, [], Group()).task.eval()

"""The steps of CapFilt on photographs, by the project's own parts and without Ray."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from features import SIDE, TOWER
from material import Pair

from capfilt.core.config import CaptionSettings
from capfilt.models.captioners.med import MedCaptioner
from capfilt.models.formats.weights import load_med, save_med
from capfilt.models.judges.med import MedJudge
from capfilt.models.judges.retrieval import rank, recall
from capfilt.models.med.config import SIZES
from capfilt.models.protocols import Decoding
from capfilt.models.systems.med.frozen import med_on_tower
from capfilt.models.tokenizer import Tokenizer
from capfilt.pipelines.calibration.curves import labeled, sweep
from capfilt.pipelines.evaluation.captions import bleu, cider, diversity
from capfilt.pipelines.stages.caption import seed_of
from capfilt.pipelines.training_data.pixel_store import Pixels
from capfilt.training.recipes import load_training
from capfilt.training.train import Listener, Request, train

SHAPE: Final = {"text_width": 128, "text_layers": 2, "text_heads": 4, "text_ffn": 512, "projection": 128}
RATE: Final = "schedule.rate=2e-3"
BATCH: Final = 64
"""Photographs measured together."""
NEAREST: Final = 16
"""Texts of an image, and images of a text, that ITM puts in order."""


def new_model(folder: Path, texts: Sequence[str], seed: int) -> None:
    """A MED on the frozen tower, with the words that stand in 3 of the texts; all else is untrained."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer.from_words(texts, min_count=3)
    config = replace(SIZES["med-tiny"], vocab_size=len(tokenizer), **SHAPE)
    save_med(folder, med_on_tower(config, TOWER, SIDE), tokenizer, ("captioner", "filter"))


def fit(task: str, data: Sequence[Path], start: Path, out: Path, steps: int, batch: int, seed: int, *more: str) -> None:
    """One training, by the command's own function; it resumes where it was interrupted."""
    chosen = (
        f"model.start={start}",
        "objectives.token_itm=0",  # the paper's own objectives alone
        "objectives.max_tokens=20",  # one caption in 20 is longer, and a batch takes as long as its longest
        f"schedule.steps={steps}",
        f"schedule.batch={batch}",
        RATE,
        f"work.seed={seed}",
        "work.save_every=100",
        "work.log_every=50",
        *more,
    )
    train(Request(task, tuple(map(str, data)), out, load_training("small", task, chosen)), Listener(print))


def write_captions(model: Path, pixels: Pixels, names: Sequence[str], seed: int, how: str) -> list[str]:
    """One caption a photograph: `nucleus` (p = 0.9) or `beam` (3 beams)."""
    captioner = MedCaptioner("captioner", "0" * 12, *load_med(model))
    decoding = Decoding(beams=3 if how == "beam" else 0, max_tokens=20)
    found: list[str] = []
    for start in range(0, len(names), BATCH):
        part = slice(start, start + BATCH)
        seeds = [[seed_of(name, "captioner", CaptionSettings(seed=seed), 0)] for name in names[part]]
        images = torch.from_numpy(pixels[part])
        found += [row[0].text for row in captioner.caption(images, seeds, "", decoding)]
    return found


def scores(model: Path, pixels: Pixels, photos: Sequence[int], texts: Sequence[str]) -> dict[str, np.ndarray]:
    """`itm` and `itc` of pairs of a photograph, by number, and a text."""
    judge = MedJudge("filter", "0" * 12, *load_med(model), "enc")
    found: dict[str, list[float]] = {"itm": [], "itc": []}
    for start in range(0, len(photos), BATCH):
        part = slice(start, start + BATCH)
        images = torch.from_numpy(pixels[np.array(photos[part])])
        for name, rows in judge.score(images, [[text] for text in texts[part]]).items():
            found[name] += [row[0] for row in rows]
    return {name: np.array(values) for name, values in found.items()}


def auc(found: np.ndarray, right: Sequence[bool]) -> float:
    """The chance that a right text scores above a wrong one."""
    return float(sweep(found, labeled(np.array(right))).auc)


def label_auc(model: Path, pixels: Pixels, pairs: Sequence[Pair]) -> dict[str, float]:
    """AUC of both scores on the pairs that people labeled."""
    found = scores(model, pixels, [pair.photo for pair in pairs], [pair.text for pair in pairs])
    return {f"auc labeled {name}": auc(values, [pair.match for pair in pairs]) for name, values in found.items()}


def best_threshold(found: np.ndarray, right: Sequence[bool]) -> float:
    """Where the share of right texts kept less that of wrong texts kept is largest."""
    curve = sweep(found, labeled(np.array(right)))
    return float(curve.thresholds[np.argmax(curve.right / curve.right[-1] - curve.wrong / curve.wrong[-1])])


def right_of_kept(found: np.ndarray, right: np.ndarray, points: int = 20) -> list[tuple[float, float]]:
    """The share of right texts among the best of a judge's order, for shares of 1 / points to 1 that are kept."""
    ordered = right[np.argsort(-found, kind="stable")]
    ends = [round(len(ordered) * point / points) for point in range(1, points + 1)]
    return [(end / len(ordered), float(ordered[:end].mean())) for end in ends]


def retrieval(model: Path, pixels: Pixels, captions: Sequence[Sequence[str]]) -> dict[str, float]:
    """R@1 and R@10 both ways: by ITC with all captions of a photograph; with the first alone by ITC and after ITM."""
    judge = MedJudge("med", "0" * 12, *load_med(model), "enc")
    images = torch.from_numpy(pixels)
    first, numbers = [own[0] for own in captions], list(range(len(captions)))
    every = [text for own in captions for text in own]
    owner = [place for place, own in enumerate(captions) for _ in own]
    found: dict[str, float] = {}
    for name, texts, of, nearest in (
        ("itc", every, owner, 1),
        ("itc1", first, numbers, 1),
        ("itm", first, numbers, NEAREST),
    ):
        ranks = rank(judge, lambda: torch.split(images, BATCH), texts, of, nearest)  # ITM changes no order of one
        for at in (1, 10):
            found |= {f"{name} tr@{at}": recall(ranks.of_images, at), f"{name} ir@{at}": recall(ranks.of_texts, at)}
    return found


def quality(written: Sequence[str], captions: Sequence[Sequence[str]]) -> dict[str, float]:
    """Captions against what people said."""
    varied = diversity(written)
    return {"cider": cider(written, captions), "bleu4": bleu(written, captions), "different": varied["different"]}

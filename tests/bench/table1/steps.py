"""The steps of CapFilt on this material, by the project's own parts and without Ray."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from material import SIDE, Picture, says_it_all
from PIL import Image
from torch import Tensor

from capfilt.core.config import CaptionSettings
from capfilt.demo.world.language import is_right
from capfilt.models.captioners.med import MedCaptioner
from capfilt.models.formats.weights import load_med, save_med
from capfilt.models.judges.med import MedJudge
from capfilt.models.judges.retrieval import rank, recall
from capfilt.models.med.config import SIZES
from capfilt.models.med.model import MED
from capfilt.models.protocols import Decoding
from capfilt.models.tokenizer import Tokenizer
from capfilt.pipelines.calibration.curves import labeled, sweep
from capfilt.pipelines.stages.caption import seed_of
from capfilt.training.recipes import load_training
from capfilt.training.train import Listener, Request, train

SHAPE = {
    "image_size": SIDE,
    "vision_width": 64,
    "vision_layers": 2,
    "text_width": 64,
    "text_layers": 2,
    "text_ffn": 128,
    "output_pos_embed": 0.0,
}
BATCH = 128
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
THRESHOLD = 0.5
"""Texts are kept whose ITM is at least this."""
PRETRAIN = ("schedule.rate=2e-3",)
TUNE = ("schedule.rate=2e-3", "objectives.smoothing=0")
"""No smoothing: a nucleus of 0.9 would draw from the mass that it spreads over words that do not fit."""
FILTER = ("schedule.rate=1.5e-3",)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text of a picture and what is known of it."""

    picture: int
    text: str
    source: str
    right: bool


def new_model(
    folder: Path,
    texts: Sequence[str],
    seed: int,
    tower: dict[str, Tensor] | None = None,
) -> None:
    """A MED with the words that stand in two of the texts; untrained, but for the image tower if one is given."""
    torch.manual_seed(seed)
    tokenizer = Tokenizer.from_words(texts, min_count=2)
    model = MED(replace(SIZES["med-tiny"], vocab_size=len(tokenizer), **SHAPE))
    if tower:
        model.vision.load_state_dict(tower)
    save_med(folder, model, tokenizer, ("captioner", "filter"))


def fit(task: str, data: Sequence[Path], start: Path, out: Path, steps: int, seed: int, *settings: str) -> None:
    """One training, by the command's own function; it goes on where it was killed."""
    chosen = (
        f"model.start={start}",
        f"schedule.steps={steps}",
        f"work.seed={seed}",
        "schedule.batch=64",
        "work.save_every=200",
        "work.log_every=100",
        *settings,
    )
    recipe = load_training("small", task, chosen)
    train(Request(task, tuple(map(str, data)), out, recipe), Listener(print))


def tensor(pictures: Sequence[Picture]) -> Tensor:
    import io

    arrays = [np.array(Image.open(io.BytesIO(picture.png)).convert("RGB")) for picture in pictures]
    return torch.from_numpy(np.stack(arrays))


def write_captions(model: Path, pictures: Sequence[Picture], seed: int, how: str) -> list[str]:
    """One caption a picture: `nucleus` (p = 0.9), `greedy` or `beam` (3 beams)."""
    captioner = MedCaptioner("captioner", "0" * 12, *load_med(model, device=DEVICE))
    found: list[str] = []
    for part in _parts(pictures):
        seeds = [[seed_of(picture.uid, "captioner", CaptionSettings(seed=seed), 0)] for picture in part]
        settings = Decoding(beams=3 if how == "beam" else 0, top_p=0.9 if how == "nucleus" else 1e-6)
        found += [row[0].text for row in captioner.caption(tensor(part), seeds, "", settings)]
    return found


def judge(model: Path, pictures: Sequence[Picture], texts: Sequence[str]) -> list[float]:
    """ITM of a text of each picture."""
    scorer = MedJudge("filter", "0" * 12, *load_med(model, device=DEVICE), "enc")
    found: list[float] = []
    for start in range(0, len(pictures), BATCH):
        part = slice(start, start + BATCH)
        scores = scorer.score(tensor(pictures[part]), [[text] for text in texts[part]])["itm"]
        found += [row[0] for row in scores]
    return found


def auc(scores: Sequence[float], right: Sequence[bool]) -> float | None:
    """The chance that a right text scores above a wrong one; None where there are not both."""
    truth = np.array(right)
    return None if truth.all() or not truth.any() else float(sweep(np.array(scores), labeled(truth)).auc)


def measure(model: Path, test: Sequence[Picture]) -> dict[str, float]:
    """Retrieval both ways, and captions that say exactly what is there, of a pretrained MED."""
    written = write_captions(model, test, 0, "greedy")
    pairs = list(zip(written, test, strict=True))
    return {
        **retrieval(model, test),
        "exact": sum(says_it_all(text, picture.truth) for text, picture in pairs) / len(test),
        "right": sum(is_right(text, picture.truth) for text, picture in pairs) / len(test),
    }


def retrieval(model: Path, test: Sequence[Picture]) -> dict[str, float]:
    """R@1 both ways, of the pictures and the first text of each: by ITC, and after ITM put the 16 nearest in order."""
    scorer = MedJudge("med", "0" * 12, *load_med(model, device=DEVICE), "enc")
    images, texts = tensor(test), [picture.texts[0] for picture in test]
    found: dict[str, float] = {}
    for name, candidates in (("itc_", 1), ("", 16)):  # ITM changes nothing in the order of one
        ranks = rank(scorer, lambda: torch.split(images, BATCH), texts, range(len(test)), candidates)
        found |= {f"{name}tr_1": recall(ranks.of_images, 1), f"{name}ir_1": recall(ranks.of_texts, 1)}
    return found


def _parts(pictures: Sequence[Picture]) -> list[Sequence[Picture]]:
    return [pictures[start : start + BATCH] for start in range(0, len(pictures), BATCH)]

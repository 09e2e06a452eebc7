"""`make table-photos`: CapFilt on real photographs.

Every condition pretrains a NEW model for the same number of steps, from the same start, and is measured on the same
held-out photographs. A line of results.jsonl is written after each; the same command resumes. Photographs and weights
stay in the folder of the run; results are numbers alone.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import report
import steps
import torch
from features import means, read_pixels
from material import KINDS, Material, Photo, deal, read_photos, write

from capfilt.pipelines.training_data.pixel_store import Pixels

HERE: Final = Path(__file__).parent
SIZES: Final = (1_350, 150, 4_500)
"""Photographs: human, calibration of the filter, web; 1,091 are left for the test."""

Texts = list[list[tuple[str, str]]]
"""(text, source) of every web photograph."""


class Seed:
    """One seed: its material, its models, and what was found so far."""

    def __init__(
        self, asked: argparse.Namespace, seed: int, photos: list[Photo], pixels: Pixels, book: report.Book
    ) -> None:
        self.asked, self.seed, self.photos, self.pixels, self.book = asked, seed, photos, pixels, book
        self.home = asked.folder / f"seed-{seed}"
        self.own: Material = deal(photos, asked.photos / "itm_triples.jsonl", asked.sizes, seed)
        self.human, self.start = self.home / "human.parquet", self.home / "start"
        write(self.human, photos, [(n, [(text, "human") for text in photos[n].captions]) for n in self.own.human])
        if not (self.start / "model.safetensors").is_file():
            texts = [text for n in self.own.human for text in photos[n].captions]
            steps.new_model(self.start, [*texts, *(web.text for web in self.own.texts)], seed)

    def run(self) -> None:
        """All conditions, `none` before those with captions: captioner and filter start from its model."""
        if "baselines" not in self.done():
            self.note("baselines", self.baselines(), time.perf_counter())
        self.condition("human only", [[] for _ in self.own.texts])
        web: Texts = [[(one.text, "web")] for one in self.own.texts]
        self.condition("none", web)
        written: Texts = [[(text, "synthetic")] for text in self.captions()]
        kept_web, kept_written = self.filtered(web, written)
        choices = {
            "filter only": kept_web,
            "captioner only": _both(web, written),
            "both": _both(kept_web, kept_written),
            "oracle": self.oracle(web),
        }
        for name, texts in choices.items():
            self.condition(name, texts)

    def done(self) -> set[str]:
        return {row["condition"] for row in self.book.rows if row["seed"] == self.seed}

    def condition(self, name: str, texts: Texts) -> None:
        """Pretrain a new model on people's texts and these, measure it, note it."""
        if name in self.done():
            return
        began = time.perf_counter()
        data, model = self.home / f"{name}.parquet", self.home / name
        write(data, self.photos, list(zip(self.own.web, texts, strict=True)))
        asked, there = self.asked, any(texts)
        files, share = ([data, self.human], (self.share(texts),)) if there else ([self.human], ())
        steps.fit("med", files, self.start, model, asked.steps, asked.batch, self.seed, *share)
        counts = {"photos": sum(map(bool, texts)), "texts": sum(map(len, texts))}
        self.note(name, counts | self.measured(model), began)

    def share(self, texts: Texts) -> str:
        """The same share of a batch from people in every condition; the rest by how many texts a source has."""
        count = {source: sum(s == source for own in texts for _, s in own) for source in ("web", "synthetic", "human")}
        count["web"] += count.pop("human")  # the oracle's captions
        rest = {source: (1 - self.asked.share) * n / sum(count.values()) for source, n in count.items()}
        told = ", ".join(f"{source} = {part:.4f}" for source, part in {"human": self.asked.share, **rest}.items())
        return f"data.share={{{told}}}"

    def captions(self) -> list[str]:
        """A caption of every web photograph, drawn by a captioner that people's texts have tuned."""
        file, model = self.home / "captions.json", self.home / "captioner"
        if not file.is_file():
            asked = self.asked
            more = ("objectives.smoothing=0",)  # a nucleus would draw from the mass that it spreads over all words
            start = self.home / "none"
            steps.fit("captioner", [self.human], start, model, asked.tune, asked.batch, self.seed, *more)
            names = [self.photos[n].name for n in self.own.web]
            written = steps.write_captions(model, self.pixels[self.own.web], names, self.seed, "nucleus")
            file.write_text(json.dumps(written), encoding="utf-8")
        found: list[str] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def filtered(self, web: Texts, written: Texts) -> tuple[Texts, Texts]:
        """What the filter keeps of the web's texts and of the captions."""
        file, model, asked = self.home / "filter.json", self.home / "filter", self.asked
        if not file.is_file():
            began = time.perf_counter()
            steps.fit("filter", [self.human], self.home / "none", model, asked.judge, asked.batch, self.seed)
            facts, keep = self.judged(model, web, written)
            file.write_text(json.dumps(keep), encoding="utf-8")
            self.note("captioner and filter", facts, began)
        found = json.loads(file.read_text(encoding="utf-8"))
        kept = [
            [own if keep else [] for own, keep in zip(texts, found[source], strict=True)]
            for source, texts in (("web", web), ("written", written))
        ]
        return kept[0], kept[1]

    def judged(self, model: Path, web: Texts, written: Texts) -> tuple[dict[str, Any], dict[str, list[bool]]]:
        """By the score that tells more of the calibration photographs, at the threshold that is best there."""
        calibration, right = self.calibration(model)
        area = {name: steps.auc(values, right) for name, values in calibration.items()}
        chosen = max(area, key=lambda name: area[name])
        threshold = steps.best_threshold(calibration[chosen], right)
        scores = {
            source: steps.scores(model, self.pixels, self.own.web, [text for [(text, _)] in texts])
            for source, texts in (("web", web), ("written", written))
        }
        keep = {source: found[chosen] >= threshold for source, found in scores.items()}
        truth = np.array([one.right for one in self.own.texts])
        facts: dict[str, Any] = {
            "score": chosen,
            "threshold": threshold,
            **{f"auc calibration {name}": value for name, value in area.items()},
            **{f"auc planted {name}": steps.auc(values, truth) for name, values in scores["web"].items()},
            **steps.label_auc(model, self.pixels, self.own.pairs),
            "web right": float(truth.mean()),
            "kept web": float(keep["web"].mean()),
            "kept web right": float(truth[keep["web"]].mean()),
            "kept synthetic": float(keep["written"].mean()),
            **{f"kept {kind}": self.kept_of(kind, keep["web"]) for kind in KINDS},
            "curve": steps.right_of_kept(scores["web"][chosen], truth),
            **self.of_captions([text for [(text, _)] in written]),
        }
        return facts, {source: kept.tolist() for source, kept in keep.items()}

    def calibration(self, model: Path) -> tuple[dict[str, np.ndarray], list[bool]]:
        """Scores of people's texts of photographs that no training saw, and of the next photograph's texts."""
        own = self.own.calibration
        rows = [(n, text, True) for n in own for text in self.photos[n].captions]
        rows += [
            (n, text, False) for n, m in zip(own, np.roll(own, 1), strict=True) for text in self.photos[m].captions
        ]
        photos, texts, right = map(list, zip(*rows, strict=True))
        return steps.scores(model, self.pixels, photos, texts), right

    def kept_of(self, kind: str, keep: np.ndarray) -> float:
        return float(keep[np.array([one.kind == kind for one in self.own.texts])].mean())

    def of_captions(self, written: Sequence[str]) -> dict[str, float]:
        """The captions of the web's photographs against people's, which no training saw."""
        found = steps.quality(written, [self.photos[n].captions for n in self.own.web])
        return {f"captions {name}": value for name, value in found.items()}

    def oracle(self, web: Texts) -> Texts:
        """What a perfect filter and captioner would leave: the right web texts, and a caption by a person each."""
        rng = np.random.default_rng([self.seed, 2])
        said = [self.photos[n].captions[int(rng.integers(5))] for n in self.own.web]
        return [
            [*(own if text.right else []), (caption, "web")]
            for own, text, caption in zip(web, self.own.texts, said, strict=True)
        ]

    def measured(self, model: Path) -> dict[str, float]:
        """Retrieval and captions of a pretrained model on the held-out photographs, and what it knows of pairs."""
        pixels, said = self.pixels[self.own.test], [self.photos[n].captions for n in self.own.test]
        names = [self.photos[n].name for n in self.own.test]
        written = steps.write_captions(model, pixels, names, 0, "beam")
        web = steps.scores(model, self.pixels, self.own.web, [one.text for one in self.own.texts])
        truth = [one.right for one in self.own.texts]
        planted = {f"auc planted {name}": steps.auc(values, truth) for name, values in web.items()}
        labels = steps.label_auc(model, self.pixels, self.own.pairs)
        return {**steps.retrieval(model, pixels, said), **steps.quality(written, said), **planted, **labels}

    def baselines(self) -> dict[str, float]:
        """Captions without a captioner: those of the nearest human photograph, and the one that fits most of them."""
        said = [self.photos[n].captions for n in self.own.test]
        near = (means(self.pixels[self.own.test]) @ means(self.pixels[self.own.human]).T).argmax(1).tolist()
        neighbor = [self.photos[self.own.human[n]].captions[0] for n in near]
        texts = [text for n in self.own.human for text in self.photos[n].captions]
        often = max(sorted(set(texts)), key=texts.count)
        found = {"nearest neighbor": neighbor, "most frequent caption": [often] * len(said)}
        return {
            f"{name} {measure}": value
            for name, written in found.items()
            for measure, value in steps.quality(written, said).items()
        }

    def note(self, condition: str, found: dict[str, Any], began: float) -> None:
        row = {"condition": condition, "seed": self.seed, **found, "seconds": round(time.perf_counter() - began)}
        self.book.add(row)
        print(json.dumps(row), flush=True)


def _both(first: Texts, second: Texts) -> Texts:
    return [[*a, *b] for a, b in zip(first, second, strict=True)]


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python tests/bench/table_photos", description=__doc__)
    parser.add_argument("photos", type=Path, help="webdataset shards, and itm_triples.jsonl")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--sizes", type=int, nargs=3, default=SIZES, help="photographs: human, calibration, web")
    parser.add_argument("--steps", type=int, default=300, help="of every pretraining")
    parser.add_argument("--tune", type=int, default=300, help="steps of the captioner")
    parser.add_argument("--judge", type=int, default=200, help="steps of the filter")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--share", type=float, default=0.2, help="of a batch from people, beside web photographs")
    parser.add_argument("--folder", type=Path, help="where models are kept; else a temporary one")
    parser.add_argument("--out", type=Path, default=HERE, help="where results.jsonl goes")
    return parser.parse_args()


def about(asked: argparse.Namespace) -> dict[str, Any]:
    """How the results were made."""
    words = [word for word in sys.argv[1:] if word != str(asked.photos)]
    commit = subprocess.run(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return {
        "date": date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "command": " ".join(["python tests/bench/table_photos PHOTOS", *_told(words)]),
        "machine": f"{os.cpu_count()} cores ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()}), "
        f"{torch.get_num_threads()} thread of torch {torch.__version__}",
        **{name: getattr(asked, name) for name in ("sizes", "steps", "tune", "judge", "batch", "share")},
    }


def _told(words: list[str]) -> list[str]:
    """What was typed, less where models and results are kept: that says nothing of the results."""
    places = {"--folder", "--out"}
    return [word for before, word in zip(["", *words], words, strict=False) if not {before, word} & places]


def main() -> None:
    """All seeds."""
    asked = arguments()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="capfilt-table-photos-") as temporary:
        asked.folder = asked.folder or Path(temporary)
        book = report.Book(asked.out / "results.jsonl", about(asked))
        photos = read_photos(asked.photos)
        pixels = read_pixels(photos, asked.folder)
        for seed in asked.seeds:
            Seed(asked, seed, photos, pixels, book).run()


if __name__ == "__main__":
    main()

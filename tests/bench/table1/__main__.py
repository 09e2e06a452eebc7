"""`make table1`: CapFilt where the truth is known, BLIP's Tables 1, 2 and 4 in miniature.

Every condition pretrains a NEW model for the same number of steps, from the same start, and is measured on the same
held-out pictures. Results are saved after each; the same command goes on where it was stopped.
"""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

import report
import steps
import torch
from material import REGIMES, pictures, says_it_all, write
from steps import Candidate
from tower import tower_that_sees

from capfilt.demo.world.language import is_right
from capfilt.pipelines.evaluation.captions import diversity

HERE = Path(__file__).parent


class Seed:
    """One seed: its material, its models, what was found."""

    def __init__(self, asked: argparse.Namespace, seed: int, book: dict[str, Any]) -> None:
        self.asked, self.seed, self.book = asked, seed, book
        self.home = asked.folder / f"seed-{seed}"
        self.regime = REGIMES[asked.regime]
        self.web, self.human, self.test = (
            pictures(kind, getattr(asked, kind), seed, self.regime) for kind in ("web", "human", "test")
        )
        self.human_file = self.home / "human.parquet"
        self.start = self.home / "start"
        if not (self.start / "model.safetensors").is_file():
            write(self.human_file, [(p, [(t, "human") for t in p.texts]) for p in self.human])
            words = [text for picture in (*self.web, *self.human) for text in picture.texts]
            steps.new_model(self.start, words, seed, tower=tower_that_sees(asked.folder / "tower.pt"))

    def run(self, wanted: list[str]) -> None:
        """The conditions that are not in the book yet."""
        given = [Candidate(n, p.texts[0], "web", is_right(p.texts[0], p.truth)) for n, p in enumerate(self.web)]
        if "none" in wanted:
            self.condition("none", given)
        base = self.home / "none"
        for name, how, shared in (("", "nucleus", False), ("shared", "nucleus", True), ("beam", "beam", False)):
            needs = ["filter only", "captioner only", "both", "oracle"] if not name else [name]
            if set(needs) & set(wanted) - self.done():
                self.capfilt(name, base, given, how, shared, needs)
        for number in (2, 3):
            name = f"round {number}"
            before = self.home / ("both" if number == 2 else f"round {number - 1}")
            if name in wanted and name not in self.done():
                self.capfilt(name, before, given, "nucleus", False, [name])

    def done(self) -> set[str]:
        return {row["condition"] for row in self.book["rows"] if row["seed"] == self.seed}

    def capfilt(self, name: str, base: Path, given: list[Candidate], how: str, shared: bool, needs: list[str]) -> None:
        """Tune captioner and filter, write and judge, and pretrain on what each condition keeps."""
        captioner, judge = self.tune(base, name, shared)
        seed = self.seed + 100 * (2 + sum(map(ord, name)) if name.startswith("round") else 1)
        written = steps.write_captions(captioner, self.web, seed, how)
        made = [Candidate(n, t, "synthetic", is_right(t, self.web[n].truth)) for n, t in enumerate(written)]
        scores = {
            c: steps.judge(judge, self.web, [x.text for x in c_]) for c, c_ in (("web", given), ("synthetic", made))
        }
        kept = {
            c: [x for x, s in zip(xs, scores[c], strict=True) if s >= steps.THRESHOLD]
            for c, xs in (("web", given), ("synthetic", made))
        }
        facts = self.facts(given, made, kept, judge, scores)
        choice = {
            "filter only": kept["web"],
            "captioner only": [*given, *made],
            "oracle": [c for c in (*given, *made) if c.right],
        }
        for need in needs:
            self.condition(need, choice.get(need, [*kept["web"], *kept["synthetic"]]), facts)

    def tune(self, base: Path, name: str, shared: bool) -> tuple[Path, Path]:
        """A captioner, and a filter that starts from it or from `base`; or one model that is both (Table 4)."""
        asked = self.asked
        prefix = name if name.startswith("round") else ""
        if shared:
            out = self.home / "tuned together"
            steps.fit("med", [self.human_file], base, out, asked.judge, self.seed, *steps.TUNE)
            return out, out
        captioner, judge = self.home / f"{prefix} captioner".strip(), self.home / f"{prefix} filter".strip()
        steps.fit("captioner", [self.human_file], base, captioner, asked.tune, self.seed, *steps.TUNE)
        start = captioner if self.regime.filter_starts_from == "captioner" else base
        how = (*steps.FILTER, f"objectives.token_itm={self.regime.token_itm}")
        steps.fit("filter", [self.human_file], start, judge, asked.judge, self.seed, *how)
        return captioner, judge

    def facts(
        self, given: list[Candidate], made: list[Candidate], kept: Any, judge: Path, scores: Any
    ) -> dict[str, float]:
        """What is known of captioner, filter and corpus, the truth being known."""
        parts = {"web": given, "synthetic": made}
        return {
            "captions right": _share(made),
            "captions exact": sum(says_it_all(c.text, self.web[c.picture].truth) for c in made) / len(made),
            "web right": _share(given),
            "kept web": len(kept["web"]) / len(given),
            "kept web right": _share(kept["web"]),
            "kept synthetic": len(kept["synthetic"]) / len(made),
            "kept synthetic right": _share(kept["synthetic"]),
            **{
                f"auc {name}": area
                for name, own in parts.items()
                if (area := steps.auc(scores[name], [c.right for c in own])) is not None
            },
            "distinct_2": diversity([c.text for c in kept["synthetic"]])["distinct_2"],
        }

    def condition(self, name: str, texts: list[Candidate], facts: dict[str, float] | None = None) -> None:
        """Pretrain a new model on texts and the human ones, measure it, note it."""
        if name in self.done():
            return
        began = time.perf_counter()
        by_picture: dict[int, list[tuple[str, str]]] = {}
        for candidate in texts:
            by_picture.setdefault(candidate.picture, []).append((candidate.text, candidate.source))
        data = self.home / f"{name}.parquet"
        count = write(data, ((p, by_picture.get(n, [])) for n, p in enumerate(self.web)))
        how = (*steps.PRETRAIN, *self.share(texts))
        steps.fit("med", [data, self.human_file], self.start, self.home / name, self.asked.steps, self.seed, *how)
        row = {
            "condition": name,
            "seed": self.seed,
            "pictures": count,
            "texts": len(texts),
            "texts right": _share(texts),
            **steps.measure(self.home / name, self.test),
            **(facts or {}),
        }
        self.book["rows"].append(row | {"seconds": round(time.perf_counter() - began), "commit": _commit()})
        print(json.dumps(self.book["rows"][-1]), flush=True)
        report.save(self.asked.out, self.book)

    def share(self, texts: list[Candidate]) -> list[str]:
        """The same share of a batch from people in every condition; the rest by how many texts a source has."""
        count = {source: sum(text.source == source for text in texts) for source in ("web", "synthetic")}
        rest = {source: (1 - self.regime.share) * n / max(1, len(texts)) for source, n in count.items()}
        told = ", ".join(f"{source} = {share:.4f}" for source, share in {"human": self.regime.share, **rest}.items())
        return [f"data.share={{{told}}}"]


def _share(candidates: list[Candidate]) -> float:
    return sum(c.right for c in candidates) / max(1, len(candidates))


def arguments() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(prog="python tests/bench/table1", description=__doc__)
    parser.add_argument("--web", type=int, default=10_000, help="web pictures")
    parser.add_argument("--human", type=int, default=2_000, help="pictures that people described")
    parser.add_argument("--test", type=int, default=500, help="held-out pictures")
    parser.add_argument("--regime", choices=REGIMES, default="full", help="how much the texts of the world say")
    parser.add_argument("--steps", type=int, default=300, help="of every pretraining")
    parser.add_argument("--tune", type=int, default=300, help="steps of the captioner")
    parser.add_argument("--judge", type=int, default=500, help="steps of the filter, and of the one that is both")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", default=list(report.CONDITIONS), choices=report.CONDITIONS)
    parser.add_argument("--folder", type=Path, help="where models are kept; else a temporary one")
    parser.add_argument("--out", type=Path, help="where results.json, table and picture go; else beside this file")
    return parser.parse_args()


def _told(words: list[str]) -> list[str]:
    """What was typed, less where models and results are kept: that says nothing of the results."""
    places = {"--folder", "--out"}
    return [word for before, word in zip(["", *words], words, strict=False) if not {before, word} & places]


def _commit() -> str:
    found = subprocess.run(["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return found.stdout.strip()


def _machine() -> str:
    gpu = f"one {torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    return f"{gpu}{os.cpu_count()} cores ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def main() -> None:
    """All seeds; what matters most comes first."""
    asked = arguments()
    temporary = None if asked.folder else tempfile.mkdtemp(prefix="capfilt-table1-")
    asked.folder = asked.folder or Path(temporary)
    asked.out = asked.out or (HERE if asked.regime == "full" else HERE / asked.regime)
    settings = {name: getattr(asked, name) for name in ("web", "human", "test", "regime", "steps", "tune", "judge")}
    book = report.load(asked.out, settings) or {
        "date": date.today().isoformat(),
        "machine": f"{_machine()}, {torch.get_num_threads()} thread of torch {torch.__version__}",
        "command": " ".join(["python tests/bench/table1", *_told(sys.argv[1:])]),
        "settings": settings,
        "rows": [],
    }
    main_ = [name for name in asked.only if name in report.MAIN]
    for wanted in (main_, asked.only):
        for seed in asked.seeds:
            if missing := [
                name for name in wanted if name not in {r["condition"] for r in book["rows"] if r["seed"] == seed}
            ]:
                Seed(asked, seed, book).run(missing)
    print(report.table(book))
    if temporary:
        shutil.rmtree(temporary)


if __name__ == "__main__":
    main()

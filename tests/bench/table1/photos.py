"""CapFilt on real photographs: does the filter see planted noise, and does a model learn more from what is kept?

    python tests/bench/table1/photos.py ../shared/data/flickr8k_112

The photographs and all weights stay where they are; photos.json and photos.md hold numbers alone. Two of five web texts
are another photograph's. Photographs of the labelled pairs' dev and test parts are held out.
"""

import argparse
import json
import platform
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import steps
import torch
from material import Picture, write

HERE: Final = Path(__file__).parent
NOISE: Final = 0.4
SHAPE: Final = {**steps.SHAPE, "image_size": 112, "patch_size": 16}
"""Of the models, from scratch."""
THRESHOLD: Final = 1 / 3
"""Texts are kept whose ITM is at least this: of the pairs a filter is taught with, one in three matches."""

CONDITIONS: Final = ("none", "filter only", "both", "oracle")


@dataclass(frozen=True, slots=True)
class Material:
    """The photographs by their part in the experiment; a web photograph has one text, right or not."""

    web: list[Picture]
    right: list[bool]
    human: list[Picture]
    test: list[Picture]
    pairs: list[tuple[Picture, str, bool]]  # labelled by people: dev


def read(folder: Path) -> dict[str, Picture]:
    """All photographs by file name, with what five people said of each."""
    found: dict[str, Picture] = {}
    for shard in sorted(folder.glob("*.tar")):
        with tarfile.open(shard) as tar:
            files = {Path(member.name): tar.extractfile(member) for member in tar.getmembers()}
            for path in sorted(path for path in files if path.suffix == ".json"):
                told, photo = files[path], files[path.with_suffix(".jpg")]
                assert told is not None
                assert photo is not None
                facts = json.load(told)
                found[facts["name"]] = Picture(facts["name"], photo.read(), "", tuple(facts["captions"]))
    return found


def material(folder: Path, human: int, test: int, seed: int) -> Material:
    """Deal the photographs out, and plant the noise."""
    photos = read(folder)
    lines = (folder / "itm_triples.jsonl").read_text(encoding="utf-8").splitlines()
    labels = [label for label in map(json.loads, lines) if label["split"] != "train" and label["image"] in photos]
    held_out = {label["image"] for label in labels}
    rng = np.random.default_rng(seed)
    others = sorted(photos.keys() - held_out)
    order = [others[n] for n in rng.permutation(len(others))]
    web, right = _web([photos[name] for name in order[human:]], rng)
    pairs = [(photos[x["image"]], x["caption"], x["label"] == "match") for x in labels if x["split"] == "dev"]
    return Material(
        web, right, [photos[name] for name in order[:human]], [photos[n] for n in sorted(held_out)[:test]], pairs
    )


def _web(photos: Sequence[Picture], rng: np.random.Generator) -> tuple[list[Picture], list[bool]]:
    """One text each, two of five another photograph's."""
    web, right = [], []
    for number, photo in enumerate(photos):
        wrong = bool(rng.random() < NOISE)
        other = (number + 1 + int(rng.integers(len(photos) - 1))) % len(photos)
        source = photos[other] if wrong else photo
        web.append(Picture(photo.uid, photo.png, "", (source.texts[int(rng.integers(len(source.texts)))],)))
        right.append(not wrong)
    return web, right


def experiment(home: Path, asked: argparse.Namespace, seed: int) -> list[dict[str, Any]]:
    """All conditions of one seed, in order."""
    own = material(asked.photos, asked.human, asked.test, seed)
    human, start = home / "human.parquet", home / "start"
    write(human, [(photo, [(text, "human") for text in photo.texts]) for photo in own.human])
    texts = [text for photo in (*own.web, *own.human) for text in photo.texts]
    steps.new_model(start, texts, seed, SHAPE, least=3)

    def pretrained(name: str, kept: Sequence[Sequence[tuple[str, str]]]) -> dict[str, Any]:
        began = time.perf_counter()
        data = home / f"{name}.parquet"
        write(data, zip(own.web, kept, strict=True))
        steps.fit("med", [data, human], start, home / name, asked.steps, seed, *steps.PRETRAIN)
        row = {"condition": name, "seed": seed, "texts": sum(map(len, kept)), **measured(home / name, own)}
        return row | {"seconds": round(time.perf_counter() - began)}

    web = [[(photo.texts[0], "web")] for photo in own.web]
    rows = [pretrained("none", web)]
    steps.fit("captioner", [human], home / "none", home / "captioner", asked.tune, seed, *steps.TUNE)
    steps.fit("filter", [human], home / "captioner", home / "filter", asked.tune, seed, *steps.FILTER)
    written = [[(text, "synthetic")] for text in steps.write_captions(home / "captioner", own.web, seed, "nucleus")]
    kept = {}
    for source, given in (("web", web), ("synthetic", written)):
        scores = steps.judge(home / "filter", own.web, [text for [(text, _)] in given])
        kept[source] = [one if score >= THRESHOLD else [] for one, score in zip(given, scores, strict=True)]
        if source == "web":
            facts = {"auc planted": steps.auc(scores, own.right), "auc pairs": matched(home / "filter", own)}
            facts |= {"kept right": share(kept["web"], own.right), "web right": sum(own.right) / len(own.right)}
    facts |= {f"kept {source}": sum(map(len, found)) / len(found) for source, found in kept.items()}
    both = [a + b for a, b in zip(kept["web"], kept["synthetic"], strict=True)]
    oracle = [one if good else [] for one, good in zip(web, own.right, strict=True)]
    for name, chosen in (("filter only", kept["web"]), ("both", both), ("oracle", oracle)):
        rows.append(pretrained(name, chosen) | (facts if name == "both" else {}))
        print(json.dumps(rows[-1]), flush=True)
    return rows


def measured(model: Path, own: Material) -> dict[str, float | None]:
    """R@1 both ways on the held-out photographs, and ITM's AUC on what people labelled."""
    return {**steps.retrieval(model, own.test), "itm auc": matched(model, own)}


def matched(model: Path, own: Material) -> float | None:
    photos, texts, right = zip(*own.pairs, strict=True)
    return steps.auc(steps.judge(model, photos, texts), right)


def share(kept: Sequence[Sequence[Any]], right: Sequence[bool]) -> float:
    chosen = [good for one, good in zip(kept, right, strict=True) if one]
    return sum(chosen) / max(1, len(chosen))


def page(results: dict[str, Any]) -> str:
    """photos.md."""
    rows = results["rows"]
    lines = ["| condition | seeds | web texts and captions | TR@1 | IR@1 | ITM AUC, labelled pairs |", "|" + "---|" * 6]
    for name in CONDITIONS:
        own = [row for row in rows if row["condition"] == name]
        cells = [name, str(len(own)), f"{np.mean([row['texts'] for row in own]):.0f}"]
        cells += [f"{100 * np.mean([row[measure] for row in own]):.1f} %" for measure in ("tr_1", "ir_1")]
        lines.append(f"| {' | '.join(cells)} | {np.mean([row['itm auc'] for row in own]):.3f} |")
    found = [row for row in rows if "auc planted" in row]
    facts = {key: float(np.mean([row[key] for row in found])) for key in found[0] if key not in rows[0]}
    said = (
        f"The filter: AUC {facts['auc planted']:.3f} for planted noise, {facts['auc pairs']:.3f} on the labelled pairs "
        f"(dev). It keeps {100 * facts['kept web']:.0f} % of the web's texts and {100 * facts['kept synthetic']:.0f} % "
        f"of the captions; of the web's, {100 * facts['web right']:.0f} % were right before and "
        f"{100 * facts['kept right']:.0f} % after."
    )
    about = (
        f"{results['date']}, {results['machine']}; `{results['command']}`; {results['seconds'] / 60:.0f} min in all."
    )
    doc = (__doc__ or "").partition("\n\n    ")
    return "\n".join(
        ["# Real photographs", "", doc[0], "", doc[2].partition("\n\n")[2], *lines, "", said, "", about, ""]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/bench/table1/photos.py", description=__doc__)
    parser.add_argument("photos", type=Path, help="webdataset shards, and itm_triples.jsonl")
    parser.add_argument("--human", type=int, default=1_500, help="photographs with the texts of people")
    parser.add_argument("--test", type=int, default=500, help="held-out photographs")
    parser.add_argument("--steps", type=int, default=300, help="of every pretraining")
    parser.add_argument("--tune", type=int, default=200, help="steps of captioner and filter")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=HERE, help="where photos.json and photos.md go")
    asked = parser.parse_args()
    began, rows = time.perf_counter(), []
    for seed in asked.seeds:
        with tempfile.TemporaryDirectory(prefix="capfilt-photos-") as folder:
            rows += experiment(Path(folder), asked, seed)
        results = {
            "date": date.today().isoformat(),
            "machine": f"{platform.machine()}, {torch.get_num_threads()} thread of torch {torch.__version__}",
            "command": " ".join(["python tests/bench/table1/photos.py", *sys.argv[1:]]),
            "settings": {name: getattr(asked, name) for name in ("human", "test", "steps", "tune")},
            "seconds": round(time.perf_counter() - began),
            "rows": rows,
        }
        (asked.out / "photos.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        (asked.out / "photos.md").write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()

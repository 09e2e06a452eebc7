"""`make bench-systems`: every system learns its job in minutes, and a twin that must fail does.

Each case trains by `capfilt train`'s own code and is measured by `capfilt evaluate`'s. A twin is the same training with
what it should need taken away. Seconds are CPU time of this process, so that a busy machine counts little.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import photographs
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from capfilt.demo.world.dataset import write_pairs
from capfilt.pipelines.evaluation.evaluate import evaluate
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.training.recipes import load_training
from capfilt.training.train import Request, train

RESULTS: Final = Path(__file__).parent / "results.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One training; NAME in a setting is the checkpoint of that case, which is trained first."""

    system: str
    settings: tuple[str, ...]
    data: str = "train"
    test: str = "test"
    twin_of: str = ""


def _steps(steps: int, batch: int = 48) -> tuple[str, ...]:
    return (f"schedule.steps={steps}", f"schedule.batch={batch}")


BIG: Final = "model.image_size=96"  # 144 patches
SMALL: Final = "model.image_size=64"  # photographs of 112 pixels, 64 patches
CASES: Final[Mapping[str, Mapping[str, Case]]] = {
    "world": {
        "clip": Case(system="clip", settings=_steps(400)),
        "clip, captions shuffled": Case(system="clip", settings=_steps(400), data="shuffled", twin_of="clip"),
        "siglip": Case(system="siglip", settings=_steps(400)),
        "lit on clip's tower": Case(system="lit", settings=(*_steps(100), "model.vision=clip")),
        "clip, as short": Case(system="clip", settings=_steps(100), twin_of="lit on clip's tower"),
    },
    "flip": {
        "clip, 144 patches": Case(system="clip", settings=(*_steps(150), BIG)),
        "flip, 50 %": Case(system="flip", settings=(*_steps(300), BIG)),
        "flip, tuned": Case(system="clip", settings=(*_steps(30), "schedule.rate=2e-4", "model.start=flip, 50 %")),
        "flip, 75 %": Case(system="flip", settings=(*_steps(300), BIG, "contrast.drop=0.75")),
    },
    "photographs": {
        "photos: clip": Case(system="clip", settings=(*_steps(600, 64), SMALL), data="photos", test="other photos"),
        "photos: siglip": Case(system="siglip", settings=(*_steps(600, 64), SMALL), data="photos", test="other photos"),
        "photos: lit on clip's tower": Case(
            system="lit",
            settings=(*_steps(300, 64), "model.vision=photos: clip"),
            data="photos",
            test="other photos",
        ),
    },
}


def material(home: Path, photos: Path | None) -> dict[str, Path]:
    """Parquet files by name: drawn images and captions that fit, the same with captions of others, and photographs."""
    files = {name: home / f"{name}.parquet" for name in ("train", "shuffled", "test", "photos", "other photos")}
    write_pairs(files["train"], 4000, seed=1)
    write_pairs(files["test"], 100, seed=2)
    table = pq.read_table(files["train"])
    order = torch.randperm(len(table), generator=torch.Generator().manual_seed(3)).numpy()
    captions = table["captions"].combine_chunks().take(pa.array(order))
    place = table.schema.get_field_index("captions")
    pq.write_table(table.set_column(place, table.schema.field("captions"), captions), files["shuffled"])
    if photos:
        photographs.write(photos, files["photos"], files["other photos"])
    return files


def measured(name: str, case: Case, files: Mapping[str, Path], home: Path) -> dict[str, Any]:
    """Train one and measure its retrieval."""
    settings = tuple(_named(change, home) for change in case.settings)
    recipe = load_training("small", case.system, (*settings, "work.log_every=50", "data.sources=['human']"))
    start = time.process_time()
    train(Request(case.system, (str(files[case.data]),), home / name, recipe))
    seconds = time.process_time() - start
    judged = load_recipe("blip", ("caption.n=0", f"score.judges={json.dumps([str(home / name)])}"))
    found = evaluate([str(files[case.test])], judged)
    return {
        "system": case.system,
        "settings": list(case.settings),
        "twin_of": case.twin_of,
        "cpu_seconds": round(seconds, 1),
        "seconds_a_step": round(seconds / recipe.schedule.steps, 4),
        "images": found.pictures,
        "texts": found.texts,
        "chance": round(1 / found.pictures, 4),
        **{key: round(value, 3) for key, value in found.retrieval.items()},
    }


def _named(change: str, home: Path) -> str:
    key, _, value = change.partition("=")
    return f"{key}={json.dumps(str(home / value))}" if key in ("model.start", "model.vision") else change


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*CASES, []], default=[])
    parser.add_argument("--photos", type=Path, help="folder of webdataset shards; without it that part is left out")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    parts = asked.parts or [part for part in CASES if part != "photographs" or asked.photos]
    results: dict[str, Any] = json.loads(asked.out.read_text()) if asked.out.is_file() else {"cases": {}}
    machine = f"{platform.machine()}, 1 thread, torch {torch.__version__}"
    with tempfile.TemporaryDirectory() as folder:
        files = material(Path(folder), asked.photos)
        for part in parts:
            for name, case in CASES[part].items():
                results["cases"][name] = found = measured(name, case, files, Path(folder))
                results |= {"date": str(date.today()), "machine": machine, "command": "python tests/bench/systems"}
                asked.out.write_text(json.dumps(results, indent=1) + "\n")
                print(name, found, flush=True)


if __name__ == "__main__":
    main()

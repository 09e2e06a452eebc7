"""A run of the demo's world made stage by stage, without Ray: pictures, half of the web texts wrong, the truth."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from capfilt.core import schema
from capfilt.core.chunks import Chunk, Part
from capfilt.demo.world import Scene, describe, jpeg, other_caption, paraphrase, random_scene
from capfilt.ledger.ledger import Ledger
from capfilt.models.registry import registry
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.selection.select import select
from capfilt.pipelines.stages.caption import CANDIDATES
from capfilt.pipelines.stages.commit import commit
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.score import score

IMAGES = 120
FILTER = "demo-filter"


@dataclass(frozen=True)
class World:
    """A run, and what is true of it."""

    out: Path
    uids: list[str]
    truth: dict[tuple[str, int], bool]  # uid and candidate -> whether the text is right
    pictures: list[bytes]
    captions: list[str]  # a right one for every picture


def make_world(out: Path) -> World:
    """120 images: about half of the web texts are another picture's, all synthetic ones are right."""
    rng = np.random.default_rng(11)
    scenes = [random_scene(rng) for _ in range(IMAGES)]
    right = rng.random(IMAGES) < 0.5
    web = [paraphrase(s, rng) if good else other_caption(s, rng) for s, good in zip(scenes, right, strict=True)]
    pictures = [jpeg(scene, 96) for scene in scenes]
    uids = _write(out, pictures, web, scenes)
    truth = {(uid, 0): bool(good) for uid, good in zip(uids, right, strict=True)} | {(uid, 1): True for uid in uids}
    return World(out, uids, truth, pictures, [describe(scene) for scene in scenes])


def _write(out: Path, pictures: list[bytes], web: list[str], scenes: list[Scene]) -> list[str]:
    chunk = Chunk("000000", (Part("lists", "/list.tsv", "list.tsv", 0, IMAGES, {}),))
    ledger, recipe = Ledger.at(out), load_recipe("blip")
    weights = {f"filter {FILTER}": registry.check(FILTER, "filter")}
    ledger.write_plan([chunk], [("list.tsv", 10, "0" * 64)], recipe, {"capfilt": "0"}, weights)
    rows = _rows(pictures)
    judge = registry.load_judge(FILTER)
    decoded = decode(rows, recipe.decode, [judge.pixels])
    texts = [_candidates(text, describe(scene)) for text, scene in zip(web, scenes, strict=True)]
    decoded = decoded.append_column(CANDIDATES, pa.array(texts, pa.list_(schema.candidate_type(()))))
    commit(score(decoded, [judge]), chunk, ledger.folder, ledger.spec_digest(chunk))
    select(ledger.folder, recipe.select)
    return list(rows["uid"].to_pylist())


def _rows(pictures: list[bytes]) -> pa.Table:
    rows = [
        {
            "uid": schema.make_uid("list.tsv", str(n), None),
            "source": f"list.tsv#{n}",
            "texts": [],
            "image": data,
        }
        for n, data in enumerate(pictures)
    ]
    return pa.Table.from_pylist(rows, schema=schema.ROWS)


def _candidates(web: str, synthetic: str) -> list[dict[str, object]]:
    fixed = {"round": 0, "flags": []}
    return [
        {"candidate": 0, "source": "web", "text": web} | fixed,
        {"candidate": 1, "source": "synthetic", "text": synthetic} | fixed,
    ]

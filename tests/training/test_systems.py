"""Every system of the registry, tiny: two steps, saved, loaded, at work in its role, and resumed to the bit.

A new system adds a line to `TINY`.
"""

import io
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from PIL import Image

from capfilt.commands.run import run
from capfilt.core.errors import ModelError
from capfilt.core.storage import Folder
from capfilt.demo.world import jpeg, web_rows
from capfilt.models.formats.vqa import load_vqa
from capfilt.models.formats.weights import save_med
from capfilt.models.med.model import MED
from capfilt.models.pixels import PixelSpec
from capfilt.models.protocols import Decoding
from capfilt.models.registry.registry import Placement, check, load_captioner, load_judge
from capfilt.models.systems.registry import SYSTEMS
from capfilt.models.tokenizer import Tokenizer
from capfilt.models.training.loop import TrainProgress
from capfilt.pipelines.examples.shots import load_shots
from capfilt.pipelines.query import run_query
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.training_data.pixel_store import decoded
from capfilt.pipelines.training_data.talks import TALKS
from capfilt.training.recipes import load_training
from capfilt.training.train import Listener, Request, train
from tiny_language import write_language

COMMON = ("schedule.steps=4", "schedule.batch=8", "schedule.rate=1e-3", "work.log_every=1", "work.save_every=2")
TINY = {
    "med": ("model.start=MED", "objectives.momentum=0.9", "objectives.queue=20", "data.marked=1"),
    "captioner": ("model.start=MED",),
    "filter": ("model.start=MED", "objectives.token_itm=1", "data.crop=0.5", "data.flip=true", "data.changes=2"),
    "vqa": ("model.start=MED",),
    "qformer": ("model.start=QFORMER", "model.language=LANGUAGE"),
    "clip": ("model.image_size=16", "contrast.part=3"),
    "flip": ("model.image_size=24", "contrast.part=3"),
    "siglip": ("model.image_size=16",),
    "lit": ("model.vision=CLIP", "schedule.steps=8", "work.save_every=6"),
    "alpha-clip": ("model.start=CLIP", "regions.rest=0.1"),
    "mae": ("model.image_size=32",),
    "llava": ("model.vision=CLIP", "model.language=LLAMA", "llava.max_tokens=12"),
    "llava, tiles": ("model.vision=CLIP", "model.language=LLAMA", "llava.max_tokens=12", "llava.tiles=true"),
    "llava-tune": ("model.start=LLAVA", "llava.max_tokens=12"),
    "llava-tune, talks": ("model.start=LLAVA", "llava.max_tokens=12", "data.talks=TALKS"),
    "flamingo": (
        "model.vision=CLIP",
        "model.language=LLAMA",
        "flamingo.latents=4",
        "flamingo.depth=1",
        "flamingo.images=2",
        "flamingo.max_tokens=12",
    ),
    "beit": ("codebook.teacher=CLIP", "model.image_size=16", "codebook.codes=4"),
}
"""What a tiny training of each system starts from, once or in more ways; a word in capitals is a folder of `home`."""


@pytest.fixture(scope="module")
def home(pairs_file: Path, tokenizer: Tokenizer, strong: MED, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MED, the first stage of a Q-Former on it, a language model and a CLIP."""
    home = tmp_path_factory.mktemp("systems")
    save_med(home / "MED", strong, tokenizer, ("captioner", "filter"))
    write_regions(pairs_file, home / "regions.parquet")
    write_talks(pairs_file, home / "named.parquet", home / "TALKS")
    write_language(home / "LANGUAGE", "opt")
    write_language(home / "LLAMA", "llama")
    for name, system, own in (
        ("QFORMER", "qformer", ("queries.queries=4", f"model.vision={home / 'MED'}")),
        ("CLIP", "clip", ("model.image_size=16", "schedule.steps=1")),
        (
            "LLAVA",
            "llava",
            (f"model.vision={home / 'CLIP'}", f"model.language={home / 'LLAMA'}", "llava.max_tokens=12"),
        ),
        (
            "FLAMINGO",
            "flamingo",
            (
                f"model.vision={home / 'CLIP'}",
                f"model.language={home / 'LLAMA'}",
                "flamingo.latents=4",
                "flamingo.depth=1",
                "schedule.steps=1",
            ),
        ),
    ):
        settings = load_training("small", system, (*COMMON, *own))
        train(Request(system, (str(pairs_file),), home / name, settings))
    return home


def write_regions(pairs: Path, out: Path) -> None:
    """The same pairs, every caption with a box."""
    rows = pq.read_table(pairs).to_pylist()
    for number, row in enumerate(rows):
        for caption in row["captions"]:
            caption["box"] = [0.0, 0.0, 0.25 + number % 3 / 4, 1.0]
    pq.write_table(pa.Table.from_pylist(rows), out)


def write_talks(pairs: Path, images: Path, out: Path) -> None:
    """The same images with uids, and two talks of every second one."""
    rows = pq.read_table(pairs).to_pylist()
    turns = [{"question": "what is it", "answer": "a circle"}, {"question": "which color", "answer": "red"}]
    talks = [{"uid": str(n // 2 * 2), "form": "detail", "turns": turns[: 1 + n % 2]} for n in range(len(rows))]
    pq.write_table(pa.Table.from_pylist([{**row, "uid": str(n)} for n, row in enumerate(rows)]), images)
    out.mkdir()
    pq.write_table(pa.Table.from_pylist(talks, TALKS), out / "talks.parquet")


def request(case: str, data: Path, home: Path, out: Path) -> Request:
    system = case.partition(",")[0]
    if "data.talks=TALKS" in TINY[case]:
        data = home / "named.parquet"
    if SYSTEMS[system].reads == "regions":
        data = home / "regions.parquet"
    settings = (*COMMON, *(re.sub(r"=([A-Z]+)$", rf"={home}/\1", change) for change in TINY[case]))
    return Request(system, (str(data),), out, load_training("small", system, settings))


def captions(folder: Path) -> None:
    captioner = load_captioner(str(folder), Placement(device="cpu"))
    ((caption,),) = captioner.caption(images(captioner.pixels.size), [[1]], "", Decoding(max_tokens=6, min_tokens=1))
    assert caption.logprob is not None
    assert caption.logprob < 0


def judges(folder: Path) -> None:
    judge = load_judge(str(folder), Placement(device="cpu"))
    scores = judge.score(images(judge.pixels.size), [["a red circle", "two blue squares"]])
    assert set(scores) == set(judge.columns)
    assert all(math.isfinite(score) for ((first, second),) in scores.values() for score in (first, second))
    assert all(first != second for ((first, second),) in scores.values())


def answers(folder: Path) -> None:
    assert len(load_vqa(folder).rank(images(16), ["what color is it"], ["red", "blue"], most=1)) == 1


def images(side: int) -> torch.Tensor:
    return torch.randint(0, 256, (1, side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def weights(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.safetensors")}


WORK: dict[str, Callable[[Path], None]] = {"captioner": captions, "filter": judges}


def encodes(folder: Path) -> None:
    model, found = transformers.AutoModelForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(
        Image.new("RGB", (90, 50), "red"), return_tensors="pt"
    )
    assert model(**pixels).loss.isfinite()


def tells_tokens(folder: Path) -> None:
    model, found = transformers.BeitForMaskedImageModeling.from_pretrained(folder, output_loading_info=True)
    assert not any(found[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    pixels = transformers.AutoImageProcessor.from_pretrained(folder)(
        Image.new("RGB", (90, 50), "red"), return_tensors="pt"
    )
    assert model(**pixels, bool_masked_pos=torch.ones(1, 4, dtype=torch.bool)).logits.shape == (1, 4, 4)


OTHERWISE: dict[str, Callable[[Path], None]] = {"vqa": answers, "mae": encodes, "beit": tells_tokens}
"""What a system without a role in a run is for."""


def test_every_system_has_a_line() -> None:
    assert {case.partition(",")[0] for case in TINY} == set(SYSTEMS)


@pytest.mark.parametrize("name", TINY)
def test_a_system_trains_saves_works_and_resumes_to_the_bit(
    name: str, home: Path, pairs_file: Path, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    last = train(request(name, pairs_file, home, whole)).steps

    def stop(progress: TrainProgress) -> None:
        if progress.step == last - 1:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train(request(name, pairs_file, home, cut), Listener(log=stop))
    half = weights(cut)
    assert train(request(name, pairs_file, home, cut)).steps_now == 2
    assert weights(cut) == weights(whole) != half
    roles = SYSTEMS[name.partition(",")[0]].roles
    for role in roles:
        assert check(str(whole), "captioner" if role == "captioner" else "filter")
        WORK[role](whole)
    if not roles:
        OTHERWISE[name](whole)
    for role in {"captioner", "filter"} - set(roles):
        with pytest.raises(ModelError):
            check(str(whole), "captioner" if role == "captioner" else "filter")


@pytest.mark.parametrize(("name", "by_example"), [("LLAVA", False), ("FLAMINGO", True)])
def test_a_trained_captioner_captions_a_run_on_the_demo_s_world(
    home: Path, tmp_path: Path, name: str, by_example: bool
) -> None:
    rows = [{"image": jpeg(scene, 16), "text": row.truth} for scene, row in web_rows(8, seed=5)]
    shots = [{"image": jpeg(scene, 40), "text": row.truth} for scene, row in web_rows(2, seed=6)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "web.parquet")
    pq.write_table(pa.Table.from_pylist(shots), tmp_path / "shots.parquet")
    settings = [f"caption.captioner={home / name}", f"score.judges=['{home / 'CLIP'}']", "engine.kind=local"]
    settings += [
        "select.judge=clip",
        "select.threshold=0",
        "decode.isolate=false",
        "caption.max_tokens=6",
        "caption.min_tokens=2",
    ]
    settings += [f"caption.shots={tmp_path / 'shots.parquet'}"] if by_example else []
    run([str(tmp_path / "web.parquet")], str(tmp_path / "out"), load_recipe("blip", tuple(settings)))
    asked = (
        "SELECT own.text, own.seed, web.text AS beside FROM captions own JOIN captions web USING (uid) "
        "WHERE own.source = 'synthetic' AND web.source = 'web'"
    )
    told = run_query(Folder.at(tmp_path / "out"), asked).to_pylist()
    assert len(told) == 8
    spec = PixelSpec(16)
    place = Placement(device="cpu", shots=load_shots(str(tmp_path / "shots.parquet"), spec) if by_example else ())
    captioner = load_captioner(str(home / name), place)
    decoding = Decoding(max_tokens=6, min_tokens=2)
    seen = {row["text"]: decoded(pa.array([row["image"]]), spec)[0] for row in rows}
    for row in told:
        shown = torch.from_numpy(seen[row["beside"]].copy())
        ((caption,),) = captioner.caption(shown, [[row["seed"]]], "", decoding)
        assert caption.text == row["text"]


def test_a_trained_clip_judges_a_run_on_the_demo_s_world(home: Path, tmp_path: Path) -> None:
    rows = [{"image": jpeg(scene, 16), "text": row.text} for scene, row in web_rows(12, seed=5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "web.parquet")
    settings = ("caption.n=0", f"score.judges=['{home / 'CLIP'}']", "engine.kind=local", "select.judge=clip")
    recipe = load_recipe("blip", (*settings, "select.threshold=0", "decode.isolate=false"))
    run([str(tmp_path / "web.parquet")], str(tmp_path / "out"), recipe)
    asked = "SELECT text, clip, keep FROM captions JOIN decisions USING (uid, candidate) ORDER BY text, clip"
    told = [tuple(row.values()) for row in run_query(Folder.at(tmp_path / "out"), asked).to_pylist()]
    judge = load_judge(str(home / "CLIP"), Placement(device="cpu"))
    pixels = torch.stack([torch.from_numpy(np.array(Image.open(io.BytesIO(row["image"])))) for row in rows])
    scores = judge.score(pixels, [[row["text"]] for row in rows])["clip"]
    by_hand = sorted((row["text"], own[0]) for row, own in zip(rows, scores, strict=True))
    assert [text for text, _, _ in told] == [text for text, _ in by_hand]
    assert [score for _, score, _ in told] == pytest.approx([score for _, score in by_hand], abs=1e-5)
    assert all(keep == (score >= 0) for _, score, keep in told)

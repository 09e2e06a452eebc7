"""What is measured: captions, ITM, a whole chunk, parity, and what bfloat16 changes."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import material
import ours
import parity
import reference
import torch
from bench import Bench, Where
from limits import Limits, Work, clip_texts, clip_tower, decoding, look, memory, reading, seconds, tower
from torch import Tensor

from capfilt.models.decoding.sampling import uniforms
from capfilt.models.formats.checkpoint import describe
from capfilt.models.normalize import normalize
from capfilt.models.protocols import Decoding
from caption_lengths import caption_lengths

TOKENS: Final = 20
TEXTS: Final = 11
LENGTHS: Final = {"of 20 tokens": TOKENS, "as long as people's": None}


def captions(bench: Bench, size: str, dtype: str) -> None:
    """The captioner, n = 1 and 10, and where its time goes."""
    folder = bench.folders(size)["captioner"]
    theirs = reference.Captioner(folder, bench.device, getattr(torch, dtype))
    model = ours.captioner(folder, bench.device, dtype)
    for where in _batches(bench, size, dtype):
        images = material.pixels(where.batch, 384).to(bench.device)
        ready = normalize(images, getattr(torch, dtype))
        for n in (1, 10):
            what = f"caption, n = {n}"
            if bench.goes(f"{what}, {where}", 20):
                ours.write(model, images[:1], n, 2)
                theirs.caption(ready[:1], n, 2)
                mine = partial(ours.write, model, images, n, TOKENS)
                well = partial(theirs.caption, ready, n, TOKENS)
                one = partial(theirs.caption_one_by_one, ready[:1], n, TOKENS)
                shape, width = model.model.config, ready.dtype.itemsize
                sizes = where.batch, width
                least = tower(shape, *sizes), look(shape, *sizes), decoding(shape, [[TOKENS] * n] * where.batch, width)
                bench.compare(what, what, where, (mine, well, one), least)
            if bench.goes(f"{what}, as long as people's, {where}", 20):
                _people_s(bench, where, model, theirs, n)
        if bench.goes(f"stages of the captioner, {where}", 20):
            _caption_stages(bench, where, model, ready)


def _people_s(bench: Bench, where: Where, model: Any, theirs: reference.Captioner, n: int) -> None:
    """Captions of lengths drawn from Flickr8k's, the same on all sides."""
    images = material.pixels(where.batch, 384).to(bench.device)
    ready = normalize(images, getattr(torch, where.dtype))
    drawn = caption_lengths(where.batch * n)
    lengths = [drawn[first : first + n] for first in range(0, len(drawn), n)]
    shape, width = model.model.config, ready.dtype.itemsize
    mine = partial(ours.write_lengths, model, images, lengths)
    well = partial(theirs.caption_lengths, ready, lengths)
    one = partial(theirs.caption_lengths_one_by_one, ready[:1], lengths[:1])
    least = (tower(shape, where.batch, width), look(shape, where.batch, width), decoding(shape, lengths, width))
    what = f"caption, n = {n}, as long as people's"
    bench.compare(what, f"caption, n = {n}", where, (mine, well, one), least)


@torch.inference_mode()
def _caption_stages(bench: Bench, where: Where, captioner: Any, ready: Tensor) -> None:
    model, batch, width = captioner.model, where.batch, ready.dtype.itemsize
    shape = model.config
    states = bench.stage("image tower", where, partial(model.encode_image, ready), tower(shape, batch, width))
    image = bench.stage("cross K/V", where, partial(model.text.project_image_kv, states), look(shape, batch, width))
    how = Decoding(max_tokens=TOKENS, min_tokens=TOKENS + 1)
    for n in (1, 10):
        draws = uniforms(range(batch * n), TOKENS).to(bench.device)
        loop = partial(captioner.write, image, [material.DEC], material.SEP, draws, how)
        bench.stage(f"decode loop, n = {n}", where, loop, decoding(shape, [[TOKENS] * n] * batch, width))


def judging(bench: Bench, size: str, dtype: str) -> None:
    """ITM of 11 texts an image."""
    folder = bench.folders(size)["itm"]
    theirs = reference.Filter(folder, bench.device, getattr(torch, dtype))
    judge = ours.judge(folder, bench.device, dtype)
    for where in _batches(bench, size, dtype):
        images = material.pixels(where.batch, 384).to(bench.device)
        ready = normalize(images, getattr(torch, dtype))
        for what, tokens in LENGTHS.items():
            if bench.goes(f"ITM of 11 texts {what}, {where}", 20):
                texts = material.texts(where.batch, TEXTS, tokens)
                ours.itm(judge, images[:1], texts[:1])
                mine = partial(ours.itm, judge, images, texts)
                one = partial(theirs.itm_one_by_one, ready[:1], texts[:1])
                work = (mine, partial(_itm_well, theirs, ready, texts), one)
                read = _reading(judge, texts, ready.dtype.itemsize)
                least = tower(judge.model.config, where.batch, ready.dtype.itemsize), read
                bench.compare(f"ITM of 11 texts {what}", "ITM of 11 texts", where, work, least)
                _text_stage(bench, where, judge, ready, texts, what)


def _itm_well(theirs: reference.Filter, ready: Tensor, texts: list[list[str]]) -> Tensor:
    return theirs.itm(theirs.encode_image(ready), texts)


@torch.inference_mode()
def _text_stage(bench: Bench, where: Where, judge: Any, ready: Tensor, texts: list[list[str]], what: str) -> None:
    least = _reading(judge, texts, ready.dtype.itemsize)
    bench.stage(
        f"K/V and 11 texts {what}", where, partial(ours.read, judge, judge.model.encode_image(ready), texts), least
    )


def _reading(judge: Any, texts: list[list[str]], width: int) -> Work:
    """Cross-attention's keys and values, and every text once."""
    shape, flat = judge.model.config, [text for row in texts for text in row]
    tokens = sum(len(text.split()) + 2 for text in flat)
    return reading(shape, len(texts), tokens, len(flat), width) + look(shape, len(texts), width)


def chunk(bench: Bench, size: str, dtype: str) -> None:
    """Recipe blip2 over a whole chunk; each side in a process of its own, so that its memory can be told."""
    where, found = Where(size, dtype, bench.asked.chunk), {}
    if not bench.goes(f"chunk, {where}", 60):
        return
    for side, images in (("ours", where.batch), ("a", where.batch), ("b", 1)):
        found[side] = _in_a_child(bench, size, {"side": side, "images": images, "dtype": dtype})
    limits = Limits(**bench.results["limits"][dtype])
    least = {
        stage: sum(map(limits.least, work)) / where.batch for stage, work in _chunk_work(bench, where, dtype).items()
    }
    for stage, spent in found["ours"]["stages"].items():
        row = {"what": f"chunk: {stage}", **asdict(where), "seconds": spent / where.batch}
        bench.add("stages", row | {"least": least.get(stage, 0.0)})
    times = {side: found[side]["seconds"] / (1 if side == "b" else where.batch) for side in found}
    row = {"what": f"chunk, {bench.asked.clip}", "floor": "chunk, recipe blip2", **asdict(where)}
    bench.add("speed", row | times | {"least": sum(least.values())})
    bench.add("memory", {"what": "capfilt, models loaded", "dtype": dtype, **found["ours"]["loaded"]})
    bench.add("memory", {"what": f"capfilt, a chunk of {where.batch}", "dtype": dtype, **found["ours"]["memory"]})
    bench.add("memory", {"what": f"A, a chunk of {where.batch}", "dtype": dtype, **found["a"]["memory"]})


def _chunk_work(bench: Bench, where: Where, dtype: str) -> dict[str, list[Work]]:
    """What the models of a chunk do at least; decoding JPEGs is not counted."""
    folders, width = bench.folders(where.size), getattr(torch, dtype).itemsize
    shape, images = describe(folders["captioner"]).config, where.batch
    clip = json.loads((folders["clip"] / "open_clip_config.json").read_text(encoding="utf-8"))["model_cfg"]
    texts = images * TEXTS
    tokens = texts * (TOKENS + 2)  # the first and the last of each
    seen = [tower(shape, images, width), look(shape, images, width)]
    read = [reading(shape, images, tokens, texts, width, cross) for cross in (True, False)]
    clips = [clip_tower(clip, images, width), clip_texts(clip, tokens, TOKENS + 2, width)]
    return {
        "caption": [*seen, decoding(shape, [[TOKENS] * 10] * images, width)],
        "itm and itc": [*seen, *read],
        "clip": clips,
    }


def _in_a_child(bench: Bench, size: str, asked: dict[str, Any]) -> dict[str, Any]:
    folders = {name: str(path) for name, path in bench.folders(size).items()}
    asked = asked | {"device": bench.device, "repeat": bench.asked.repeat, "folders": folders}
    same = ["--clock", bench.asked.clock, "--threads", str(torch.get_num_threads())]
    command = [sys.executable, str(Path(__file__).parent), *same, "--child", json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def child(asked: dict[str, Any]) -> dict[str, Any]:
    """One side of `chunk`, in this process."""
    folders = {name: Path(path) for name, path in asked["folders"].items()}
    device, kind = asked["device"], getattr(torch, asked["dtype"])
    files, given = material.photos(asked["images"]), [row[0] for row in material.texts(asked["images"], 1, None)]
    if asked["side"] == "ours":
        whole, loaded = ours.Chunk(folders, ours.placement(device, asked["dtype"]), TOKENS), memory()
        whole.run(files[:1], given[:1])
        stages = min((whole.run(files, given) for _ in range(asked["repeat"])), key=lambda spent: sum(spent.values()))
        return {"seconds": sum(stages.values()), "stages": stages, "loaded": loaded, "memory": memory()}
    models = reference.load(folders, device, kind)
    theirs = reference.Chunk(*models, device, kind)
    theirs.run_well(files[:1], given[:1], 1, 2)
    run = theirs.run_well if asked["side"] == "a" else theirs.run_one_by_one
    repeat = asked["repeat"] if asked["side"] == "a" else 1
    return {"seconds": seconds(lambda: run(files, given, 10, TOKENS), repeat), "memory": memory()}


def same_as_transformers(bench: Bench, size: str) -> None:
    """Parity at 384 px, at 224 px from the same weights (interpolated positions) and at 224 px of their own."""
    for name, kind, run in (
        ("captioner", "BlipForConditionalGeneration", parity.captioning),
        ("itm", "BlipForImageTextRetrieval", parity.retrieval),
    ):
        for what, trained, side in (("384 px", 384, 384), ("224 px, interpolated", 384, 224), ("224 px", 224, 224)):
            if bench.goes(f"parity of {name} {size}, {what}", 15 if size == "base" else 40):
                folder = material.blip(bench.folder / f"{name}-{size}-{trained}", kind, size, trained)
                bench.add("parity", {"what": f"{name} {size}, {what}", "far": run(folder, side)})


def agreement(bench: Bench, size: str) -> None:
    """How far bfloat16 is from float32 in what a user sees."""
    if not bench.goes("bfloat16 against float32", 30):
        return
    folders = bench.folders(size)
    images, texts = material.pixels(8, 384).to(bench.device), material.texts(8, TEXTS, None)
    scores, words = [], []
    for dtype in ("float32", "bfloat16"):
        scores.append(ours.itm(ours.judge(folders["itm"], bench.device, dtype), images, texts).cpu())
        written = ours.write(ours.captioner(folders["captioner"], bench.device, dtype), images, 4, TOKENS)
        words.append([one.text.split() for row in written for one in row])
    apart, sides = (scores[0] - scores[1]).abs(), [row >= 0.5 for row in scores]
    alike = [_alike(*pair) for pair in zip(*words, strict=True)]
    bench.results["agreement"] = {
        "softmax ITM of 88 pairs, largest and mean difference": f"{apart.max():.4f}, {apart.mean():.4f}",
        "pairs on the same side of 0.5": f"{(sides[0] == sides[1]).float().mean():.1%}",
        "captions of 20 words that are the same": f"{alike.count(TOKENS)} of {len(alike)}",
        "words before the first that differs, on average": f"{sum(alike) / len(alike):.1f} of {TOKENS}",
    }
    bench.save()


def _alike(a: list[str], b: list[str]) -> int:
    """Words that two captions share from their start."""
    return next((place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _batches(bench: Bench, size: str, dtype: str) -> Iterator[Where]:
    return (Where(size, dtype, batch) for batch in bench.asked.batches)

"""A run of any size without a picture in it: real chunks and commits over made-up texts and scores."""

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

from capfilt.core import schema
from capfilt.core.chunks import Chunk, Part
from capfilt.core.serialization import parquet_bytes
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.recipes.load import load_recipe
from capfilt.pipelines.stages.commit import table_bytes

IMAGES: Final = 256  # a chunk, as the recipes have it
TEXTS: Final = 11  # an image: its web text and ten captions, as BLIP-2 has it
JUDGES: Final = ("itm", "itc", "clip", "clip_2")
WORDS: Final = ("a", "the", "red", "blue", "small", "large", "dog", "cat", "man", "street", "house", "in", "near")


def make_run(out: Path, candidates: int) -> Ledger:
    """A complete run of about so many candidates in folder `out`, the same for the same number."""
    ledger, rng = Ledger.at(out), np.random.default_rng(7)
    count = max(candidates // (IMAGES * TEXTS), 1)
    chunks = [
        Chunk(f"{n:06d}", (Part("lists", "/list.tsv", "list.tsv", n * IMAGES, IMAGES, {}),)) for n in range(count)
    ]
    recipe = load_recipe("blip", ("output.images=reference",))
    ledger.write_plan(chunks, [("list.tsv", 1, "0" * 64)], recipe, {"capfilt": "0"}, {})
    for number, chunk in enumerate(chunks):
        _commit(ledger, chunk, number, rng)
    return ledger


def _commit(ledger: Ledger, chunk: Chunk, number: int, rng: np.random.Generator) -> None:
    uids = pa.array([hashlib.sha256(f"{number}/{row}".encode()).hexdigest()[:32] for row in range(IMAGES)])
    tables = {
        "images": _images(uids),
        "captions": _captions(uids, rng),
        "failures": schema.FAILURES.empty_table(),
    }
    files = {f"{name}/{chunk.name}.parquet": table_bytes(table) for name, table in tables.items()}
    for name, data in files.items():
        _write(ledger, name, data)
    record = {
        "chunk": chunk.name,
        "rows": IMAGES,
        **{name: table.num_rows for name, table in tables.items()},
        "reasons": [],
        "files": sorted((name, hashlib.sha256(data).hexdigest()) for name, data in files.items()),
        "spec": ledger.spec_digest(chunk),
    }
    _write(ledger, f"commits/{chunk.name}.parquet", parquet_bytes(pa.Table.from_pylist([record], schema.COMMITS)))


def _write(ledger: Ledger, name: str, data: bytes) -> None:
    """Not by `Folder.write`, which waits for the disk at every file."""
    path = Path(ledger.folder.full(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _images(uids: pa.Array) -> pa.Table:
    rows = len(uids)
    sizes, names = pa.array(np.full(rows, 224, np.int32)), [f"{uid}.jpg" for uid in uids.to_pylist()]
    image = pa.StructArray.from_arrays([pa.nulls(rows, pa.large_binary()), pa.array(names)], fields=list(schema.IMAGE))
    same = {"url": "", "source": "list.tsv#0", "sha256": "0" * 64, "format": "jpeg"}
    same |= {"phash": 0, "phash_mirrored": 0, "color_layout": bytes(48)}
    columns = {name: pa.repeat(value, rows) for name, value in same.items()}
    columns |= {"uid": uids, "width": sizes, "height": sizes, "image": image}
    nothing = {field.name: pa.nulls(rows, field.type) for field in schema.IMAGES if field.nullable}
    return pa.table({name: (nothing | columns)[name] for name in schema.IMAGES.names}).cast(schema.IMAGES)


def _captions(uids: pa.Array, rng: np.random.Generator) -> pa.Table:
    rows = len(uids) * TEXTS
    number = np.tile(np.arange(TEXTS, dtype=np.int32), len(uids))
    words = np.array(WORDS)[rng.integers(len(WORDS), size=(rows, 10))]
    columns = {
        "uid": uids.take(pa.array(np.repeat(np.arange(len(uids)), TEXTS))),
        "candidate": number,
        "source": np.where(number == 0, "web", "synthetic"),
        "text": [" ".join(line) for line in words],
        "box": pa.nulls(rows, schema.BOX),
        "captioner": pa.array(np.where(number == 0, None, "made-up@000000000000"), pa.string()),
        "round": np.zeros(rows, np.int32),
        "seed": rng.integers(2**63, size=rows, dtype=np.uint64),
        "logprob": rng.normal(-20, 5, rows).astype(np.float32),
        "flags": pa.array([[]] * rows, pa.list_(pa.string())),
        **{judge: rng.random(rows, dtype=np.float32) for judge in JUDGES},
    }
    wanted = schema.captions_schema(JUDGES)
    nothing = {field.name: pa.nulls(rows, field.type) for field in wanted if field.nullable}
    return pa.table({name: (nothing | columns)[name] for name in wanted.names}).cast(wanted)

"""Annotated images of the world as Parquet, the form that training reads."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core.disk.put_in_place import put_in_place
from capfilt.core.schema import IMAGE, TEXT
from capfilt.demo.world.pairs import AnnotatedPair, annotated_pairs, jpeg
from capfilt.demo.world.scene import Scene
from capfilt.demo.world.web import WebRow, web_rows
from capfilt.pipelines.training_data.talks import QUESTION

COLUMNS = pa.schema(
    [
        ("image", IMAGE),
        ("captions", pa.list_(TEXT)),
        ("wrong", pa.list_(pa.string())),
        ("questions", pa.list_(QUESTION)),
    ]
)
NOISY = pa.schema([("image", IMAGE), ("text", pa.string()), ("truth", pa.string()), ("right", pa.bool_())])
ROW_GROUP = 4096
SIDE = 96


def write_pairs(path: Path, n: int, seed: int) -> None:
    """Write `n` annotated images to a Parquet file; the same seed gives the same ones."""
    _write(path, COLUMNS, (_row(number, pair) for number, pair in enumerate(annotated_pairs(n, seed))))


def write_noisy(path: Path, n: int, seed: int) -> None:
    """Write `n` images with the web's text each, half of them wrong, and their truth beside it."""
    rows = (_noisy_row(scene, row) for scene, row in web_rows(n, seed))
    _write(path, NOISY, rows)


def _write(path: Path, columns: pa.Schema, rows: Iterator[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    with pq.ParquetWriter(draft, columns, compression="zstd") as writer:
        while part := list(islice(rows, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(part, columns))
    put_in_place(draft, path)


def _noisy_row(scene: Scene, row: WebRow) -> dict[str, object]:
    image = {"bytes": jpeg(scene, SIDE), "path": row.name}
    return {"image": image, "text": row.text, "truth": row.truth, "right": row.right}


def _row(number: int, pair: AnnotatedPair) -> dict[str, object]:
    said = [("human", text) for text in pair.human] + [("web", text) for text in pair.web]
    return {
        "image": {"bytes": pair.jpeg, "path": f"{number:06d}.jpg"},
        "captions": [{"text": text, "source": source} for source, text in said],
        "wrong": list(pair.wrong),
        "questions": [{"question": question, "answers": [answer]} for question, answer in pair.questions],
    }

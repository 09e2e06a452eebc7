"""Annotated pictures of the world as Parquet, the form that training reads."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.schema import IMAGE, TEXT
from capfilt.world.pairs import AnnotatedPair, annotated_pairs

COLUMNS = pa.schema([("image", IMAGE), ("captions", pa.list_(TEXT)), ("wrong", pa.list_(pa.string()))])
ROW_GROUP = 4096


def write_pairs(path: Path, n: int, seed: int) -> None:
    """Write `n` annotated pictures to a Parquet file; the same seed gives the same ones."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    with pq.ParquetWriter(draft, COLUMNS, compression="zstd") as writer:
        rows = []
        for number, pair in enumerate(annotated_pairs(n, seed)):
            rows.append(_row(number, pair))
            if len(rows) == ROW_GROUP or number + 1 == n:
                writer.write_table(pa.Table.from_pylist(rows, COLUMNS))
                rows = []
    draft.replace(path)


def _row(number: int, pair: AnnotatedPair) -> dict[str, object]:
    said = [("human", text) for text in pair.human] + [("web", text) for text in pair.web]
    return {
        "image": {"bytes": pair.jpeg, "path": f"{number:06d}.jpg"},
        "captions": [{"text": text, "source": source} for source, text in said],
        "wrong": list(pair.wrong),
    }

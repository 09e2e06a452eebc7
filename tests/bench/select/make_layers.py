"""Layers of any size without a model: real files and records of made-up scores."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core.serialization import parquet_bytes, to_toml
from capfilt.ledger.layers import LAYER_COMMITS, new_layer
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.recipes.load import load_recipe


def make_layers(ledger: Ledger, names: Sequence[str]) -> None:
    """Give a complete run layers about its texts, each with one column that is named as it is."""
    rng, records = np.random.default_rng(11), ledger.records().to_pylist()
    for name in names:
        columns = pa.schema([(name, pa.float32())])
        models = {f"judge {name}": hashlib.sha256(name.encode()).hexdigest()}
        layer = new_layer(
            ledger,
            name,
            subject="texts",
            annotator=name,
            columns=columns,
            models=models,
            versions={"capfilt": "0"},
            recipe=load_recipe("blip"),
        )
        _write(ledger, f"{layer.place}.toml", to_toml(layer.facts).encode())
        for record in records:
            keys = pq.read_table(
                ledger.folder.full(f"captions/{record['chunk']}.parquet"), columns=["uid", "candidate"]
            )
            scores = pa.array(rng.random(keys.num_rows, np.float32))
            data = parquet_bytes(keys.append_column(name, scores).cast(layer.schema))
            _write(ledger, layer.table(record["chunk"]), data)
            said = {"chunk": record["chunk"], "rows": keys.num_rows, "without": 0, "reasons": [], "size": len(data)}
            said |= {"sha256": hashlib.sha256(data).hexdigest(), "spec": layer.spec_digest(record)}
            _write(ledger, layer.record(record["chunk"]), parquet_bytes(pa.Table.from_pylist([said], LAYER_COMMITS)))


def _write(ledger: Ledger, name: str, data: bytes) -> None:
    """Not by `Folder.write`, which waits for the disk at every file."""
    path = Path(ledger.folder.full(name))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)

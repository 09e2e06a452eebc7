"""A judge alone over the stored pictures and texts of a run: what `annotate` cannot do without.

    drive.py OUT JUDGE

Reads each chunk, decodes its pictures, scores its texts, and writes nothing: no record, no layer, no selection.
"""

import sys
from collections import defaultdict
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core import schema
from capfilt.core.config import Recipe
from capfilt.ledger.ledger import Ledger
from capfilt.models.registry import registry
from capfilt.pipelines.stages.caption import CANDIDATES
from capfilt.pipelines.stages.decode import decode
from capfilt.pipelines.stages.score import score


def rows_of(out: str, chunk: str) -> pa.Table:
    """The chunk's images as `schema.ROWS`, with their texts in `candidates`."""
    images = pq.read_table(f"{out}/images/{chunk}.parquet", columns=["uid", "source", "image"])
    texts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for text in pq.read_table(f"{out}/captions/{chunk}.parquet", columns=["uid", *TEXT]).to_pylist():
        texts[text.pop("uid")].append(text)
    rows = [
        {"uid": row["uid"], "source": row["source"], "texts": [], "image": row["image"]["bytes"]}
        for row in images.to_pylist()
    ]
    candidates = pa.array([texts[row["uid"]] for row in rows], pa.list_(schema.candidate_type(())))
    return pa.Table.from_pylist(rows, schema=schema.ROWS).append_column(CANDIDATES, candidates)


TEXT = [field.name for field in schema.CANDIDATE]


def main(out: str, name: str) -> None:
    ledger = Ledger.at(out)
    recipe, judge = Recipe.model_validate(ledger.run["recipe"]), registry.load_judge(name)
    scored = 0
    for chunk in sorted(ledger.committed()):
        done = score(decode(rows_of(out, chunk), recipe.decode, [judge.pixels]), [judge])
        scored += sum(map(len, done[CANDIDATES].to_pylist()))
    print(scored)


if __name__ == "__main__":
    main(*sys.argv[1:])

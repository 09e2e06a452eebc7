"""The score stage: every judge reads every candidate text of every image, once, and adds its columns."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

from capfilt.pipelines.caption import CANDIDATES, alive, batches, pixel_tensor
from capfilt.schema import candidate_type

if TYPE_CHECKING:
    from capfilt.models.protocols import Judge


def score(rows: pa.Table, judges: "Sequence[Judge]", batch: int) -> pa.Table:
    """Add the judges' columns (float32) to the structs of the column `candidates`; nothing is dropped.

    Args:
        rows: what `caption` gave.
        batch: images a micro-batch.
    """
    candidates = rows[CANDIDATES].to_pylist()
    for judge in judges:
        for part in batches(alive(rows), batch):
            texts = [[c["text"] for c in candidates[row]] for row in part]
            scores = judge.score(pixel_tensor(rows, judge.pixels, part), texts)
            for column in judge.columns:
                for row, values in zip(part, scores[column], strict=True):
                    for candidate, value in zip(candidates[row], values, strict=True):
                        candidate[column] = value
    typed = pa.array(candidates, pa.list_(candidate_type(columns_of(judges))))
    return rows.set_column(rows.schema.get_field_index(CANDIDATES), CANDIDATES, typed)


def columns_of(judges: "Sequence[Judge]") -> tuple[str, ...]:
    """The score columns of several judges; two judges that would write the same one are told apart by their names."""
    names = [name for judge in judges for name in judge.columns]
    if len(set(names)) != len(names):
        raise ValueError(f"two judges write the same column: {', '.join(names)}")
    return tuple(names)

"""What to train on: Parquet with images and texts, read into memory as pixels and words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds

from capfilt.config import Decode
from capfilt.errors import InputError
from capfilt.models.pixels import PixelSpec
from capfilt.pipelines.decode import decode
from capfilt.schema import ROWS, TEXT
from capfilt.storage import split_url

if TYPE_CHECKING:
    from capfilt.models.training.med_task import Batch

PAIRS = pa.schema(
    [
        ("image", pa.struct([("bytes", pa.large_binary()), ("path", pa.string())])),
        ("captions", pa.list_(TEXT)),  # right texts: human, web or synthetic
        ("wrong", pa.list_(pa.string())),  # texts that people marked as not matching; may be missing
    ]
)
"""The columns that count. A run's `corpus/` has them too, `wrong` apart."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """N pictures in memory: `images` uint8 [N, S, S, 3], and texts of each."""

    images: np.ndarray[Any, np.dtype[np.uint8]]
    texts: list[list[str]]
    wrong: list[list[str]]

    def __len__(self) -> int:
        return len(self.texts)


def load_pairs(location: str, pixels: PixelSpec, sources: Sequence[str]) -> Pairs:
    """Read the pairs of a Parquet file or folder; pictures without a text of the wanted sources are left out.

    Raises:
        InputError: nothing there, or no `image` and `captions` columns.
    """
    filesystem, path = split_url(location)
    try:
        table = ds.dataset(path, filesystem=filesystem, format="parquet", exclude_invalid_files=False).to_table()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{location}: {str(error).splitlines()[0]}") from error
    if missing := {"image", "captions"} - set(table.column_names):
        raise InputError(
            f"{location}: no column {', '.join(sorted(missing))}; there are {', '.join(table.column_names)}"
        )
    captions = [[c["text"] for c in row if c["source"] in sources] for row in table["captions"].to_pylist()]
    wrong = table["wrong"].to_pylist() if "wrong" in table.column_names else [[] for _ in captions]
    images, good = _decoded(table["image"], pixels)
    keep = [row for row in range(table.num_rows) if good[row] and captions[row]]
    if not keep:
        raise InputError(f"{location}: no picture has a text of source {' or '.join(sources)}")
    return Pairs(images[keep], [captions[row] for row in keep], [wrong[row] for row in keep])


def draw_batches(pairs: Pairs, size: int, marked: int, seed: int) -> "Iterator[Batch]":
    """Batches for ever: every picture once an epoch in a new order, one of its texts drawn each time.

    Args:
        marked: texts marked as wrong that go along with every picture (fewer where a picture of the batch has fewer).
    """
    import torch

    from capfilt.models.training.med_task import Batch

    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(pairs))
        for start in range(0, len(order) - size + 1, size):
            part = order[start : start + size]
            texts = [pairs.texts[row][rng.integers(len(pairs.texts[row]))] for row in part]
            wrong = [[pairs.wrong[row][k] for k in rng.permutation(len(pairs.wrong[row]))[:marked]] for row in part]
            yield Batch(torch.from_numpy(pairs.images[part]), texts, wrong)


def _decoded(column: pa.ChunkedArray, pixels: PixelSpec) -> tuple[np.ndarray[Any, np.dtype[np.uint8]], list[bool]]:
    """Pixels of every row (zeros where it is no image) and which rows are images, by the decode stage of a run."""
    blobs = column.combine_chunks().field("bytes") if pa.types.is_struct(column.type) else column
    count = len(blobs)
    nothing = pa.nulls(count, pa.string())
    uids = pa.array([f"{row:032x}" for row in range(count)])
    texts = pa.array([[]] * count, pa.list_(TEXT))
    values = [uids, uids, nothing, texts, blobs.cast(pa.large_binary()), nothing, nothing, nothing]
    rows = decode(pa.table(values, ROWS), Decode(), [pixels])
    good = [reason is None for reason in rows["reason"].to_pylist()]
    blank = bytes(pixels.bytes)
    joined = b"".join(blob if blob is not None else blank for blob in rows[f"pixels:{pixels.name}"].to_pylist())
    return np.frombuffer(joined, np.uint8).reshape(count, pixels.size, pixels.size, 3), good

"""Tables that a function reads, part by part, as a Ray dataset that streams."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pyarrow as pa

T = TypeVar("T")


def ray_dataset(parts: Sequence[T], read: Callable[[T], pa.Table]) -> Any:
    """A `ray.data.Dataset` of the rows of all parts, in their order of reading; a worker reads one part at a time.

    Uses the Ray of this process, or starts one as Ray Data does. Its `DataContext` is the caller's own.

    Args:
        parts: what Ray can pickle.
        read: a function that Ray can pickle.
    """
    import ray.data

    numbers = ray.data.from_items([{"part": number} for number in range(len(parts))], override_num_blocks=len(parts))
    reading: Any = _read  # typed more narrowly than Ray takes it
    return numbers.map_batches(reading, fn_kwargs={"parts": parts, "read": read}, batch_size=1, batch_format="pyarrow")


def _read(batch: pa.Table, parts: Sequence[T], read: Callable[[T], pa.Table]) -> pa.Table:
    return read(parts[batch["part"][0].as_py()])

"""read: the rows of one chunk, each with its permanent uid."""

from typing import Final

import pyarrow as pa

from capfilt.core.chunks import Chunk, Part
from capfilt.core.config import InputSettings
from capfilt.core.errors import IntegrityError
from capfilt.core.schema import ROWS, make_uid
from capfilt.core.storage import patiently
from capfilt.pipelines.readers import reader_named
from capfilt.pipelines.stages.micro_batches import AroundDeaths

STAGE = "read"
MEMORY: Final = InputSettings().memory


def read(chunk: Chunk, memory: int = MEMORY, pieces: AroundDeaths | None = None) -> pa.Table:
    """The rows of a chunk as `schema.ROWS`, in input order; rows that the reader failed have the stage `read`.

    Args:
        memory: `input.memory`.
        pieces: parts that killed this process are found by it, and are failures.

    Raises:
        IntegrityError: an input file gives another number of rows than planned: it has changed.
    """
    parts = chunk.parts
    found, dead = (pieces or AroundDeaths()).run(
        range(len(parts)), lambda some: [_rows(parts[place], _raw(parts[place], memory)) for place in some]
    )
    for place, how in dead.items():
        found[place] = _rows(parts[place], reader_named(parts[place].reader).failed(parts[place], how))
    return pa.concat_tables([found[place] for place in range(len(parts))]).combine_chunks()


def _raw(part: Part, memory: int) -> pa.Table:
    return patiently(lambda: reader_named(part.reader, memory).read(part), local="://" not in part.file)


def _rows(part: Part, raw: pa.Table) -> pa.Table:
    if raw.num_rows != part.rows:
        raise IntegrityError(f"{part.file} gives {raw.num_rows} rows, expected {part.rows}: it changed after planning")
    keys, urls = raw["key"].to_pylist(), raw["url"].to_pylist()
    columns = {
        "uid": pa.array([make_uid(part.identity, key, url) for key, url in zip(keys, urls, strict=True)], pa.string()),
        "source": pa.array([f"{part.identity}#{key}" for key in keys], pa.string()),
        "redirect_hosts": pa.nulls(part.rows, pa.list_(pa.string())),
        "stage": pa.array([STAGE if reason else None for reason in raw["reason"].to_pylist()], pa.string()),
    }
    return pa.table([columns[name] if name in columns else raw[name] for name in ROWS.names], schema=ROWS)

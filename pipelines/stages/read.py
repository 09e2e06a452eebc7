"""read: the rows of one chunk, each with its permanent uid."""

import pyarrow as pa

from capfilt.core.chunks import Chunk, Part
from capfilt.core.errors import IntegrityError
from capfilt.core.schema import ROWS, make_uid
from capfilt.core.storage import patiently
from capfilt.pipelines.readers import reader_named

STAGE = "read"


def read(chunk: Chunk) -> pa.Table:
    """The rows of a chunk as `schema.ROWS`, in input order; rows that the reader failed have the stage `read`.

    Raises:
        IntegrityError: an input file gives another number of rows than planned: it has changed.
    """
    return pa.concat_tables([_rows(part) for part in chunk.parts]).combine_chunks()


def _rows(part: Part) -> pa.Table:
    raw = patiently(lambda: reader_named(part.reader).read(part), local="://" not in part.file)
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

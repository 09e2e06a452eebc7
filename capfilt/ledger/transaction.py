"""Replacing the files of a committed chunk, so that a kill at any moment leaves the old ones or the new ones.

    redo/000012.parquet   all new files of the chunk, its record last, and the digest of the record they replace

The redo is one file, written whole or not at all. Then it is carried out: the files in their order, the record last.
Who is killed on the way leaves the redo behind, and whoever works on the run next carries it out again (`settle`). A
redo whose record is there no longer, because somebody else was quicker, is void: so a worker that outlives its driver
can write one, and do no harm.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core.storage import Folder

PLACE: Final = "redo"
FILES: Final = pa.schema([pa.field("name", pa.string(), nullable=False), ("data", pa.large_binary())])
_BASE: Final = b"base"


def write_redo(folder: Folder, chunk: str, files: Mapping[str, bytes]) -> None:
    """Write down what is to replace the files of a committed chunk.

    Args:
        files: bytes by name, in the order to write them; the last one is the chunk's record.
    """
    base = _digest(folder.read(_record(chunk)))
    table = pa.table([list(files), list(files.values())], schema=FILES).replace_schema_metadata({_BASE: base})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_statistics=False)
    folder.write(f"{PLACE}/{chunk}.parquet", bytes(sink.getvalue()))


def settle(folder: Folder) -> list[str]:
    """Carry out every redo; gives the names of the chunks. To be called by whoever holds the lock of the run."""
    return [Path(name).stem for name in folder.names(PLACE, ".parquet") if _carry_out(folder, name)]


def _carry_out(folder: Folder, name: str) -> bool:
    """Carry out one redo, unless it is void; it is gone then."""
    table = pq.read_table(pa.BufferReader(folder.read(name)))
    record = _record(Path(name).stem)
    valid = folder.exists(record) and _digest(folder.read(record)) == table.schema.metadata[_BASE]
    if valid:
        for file, data in zip(table["name"].to_pylist(), table["data"], strict=True):
            folder.write(file, data.as_py())
    folder.delete(name)
    return valid


def _record(chunk: str) -> str:
    return f"commits/{chunk}.parquet"


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()

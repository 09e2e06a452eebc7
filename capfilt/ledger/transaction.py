"""Replacing the files of a committed chunk as a transaction: an interruption leaves all old files or all new ones.

    redo/000012.parquet   all new files of the chunk, its record last, and the digest of the record they replace

The transaction is one file, written whole or not at all. Then it is replayed: the files in their order, the record
last. An interrupted replay leaves the file behind, and the next process that locks the run replays it again
(`replay_pending`). A transaction whose base record is gone, because another process was faster, is void: so a worker
that outlives its driver can write one and do no harm.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from capfilt.core.storage import Folder
from capfilt.core.tables import read_table

PLACE: Final = "redo"  # the name that interrupted retries of earlier versions left behind
FILES: Final = pa.schema([pa.field("name", pa.string(), nullable=False), ("data", pa.large_binary())])
_BASE: Final = b"base"


def write_transaction(folder: Folder, chunk: str, files: Mapping[str, bytes]) -> None:
    """Write the transaction that replaces the files of a committed chunk.

    Args:
        files: bytes by name, in the order to write them; the last one is the chunk's record.
    """
    base = _digest(folder.read(_record(chunk)))
    table = pa.table([list(files), list(files.values())], schema=FILES).replace_schema_metadata({_BASE: base})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="none", use_dictionary=False, write_statistics=False)
    folder.write(f"{PLACE}/{chunk}.parquet", bytes(sink.getvalue()))


def replay_pending(folder: Folder) -> list[str]:
    """Replay every pending transaction; gives the names of the chunks. Only the holder of the run's lock calls it."""
    return [Path(name).stem for name in folder.names(PLACE, ".parquet") if _replay(folder, name)]


def _replay(folder: Folder, name: str) -> bool:
    """Replay one transaction unless it is void, then delete it; whether it was replayed."""
    table = read_table(folder, name)
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

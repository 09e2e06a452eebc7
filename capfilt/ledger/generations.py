"""The plan of a run and its generations: inputs that were appended later have a plan of their own beside the first.

plan.parquet, run.toml             the first generation
plan-0001.parquet, plan-0001.toml  the second one: its chunks, and the inputs that they are made of
"""

import hashlib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from capfilt.core.chunks import Chunk
from capfilt.core.errors import IntegrityError
from capfilt.core.serialization import parquet_bytes, to_toml
from capfilt.core.storage import Folder
from capfilt.core.tables import read_table

PLAN: Final = pa.schema(
    [
        pa.field("chunk", pa.string(), nullable=False),
        pa.field("rows", pa.int64(), nullable=False),
        pa.field("spec", pa.string(), nullable=False),
    ]
)
"""The table of plan.parquet; `spec` is `Chunk.to_json`."""

FIRST: Final = "plan"
_APPENDED: Final = re.compile(rf"{FIRST}-[0-9]{{4}}\.toml")

InputFacts = tuple[str, int, str]
"""Identity, size in bytes and digest of an input file."""


def appended(folder: Folder) -> list[str]:
    """Names of the generations after the first one ("plan-0001"), in order."""
    return [Path(name).stem for name in folder.names("", ".toml") if _APPENDED.fullmatch(name)]


def generation_facts(folder: Folder, name: str) -> dict[str, Any]:
    """The .toml of an appended generation: `rows`, `chunks`, `plan` (digest), `inputs`, `versions`, perhaps `left_out`.

    Raises:
        IntegrityError: it is damaged.
    """
    try:
        facts = tomllib.loads(folder.read(f"{name}.toml").decode())
        _ = facts["plan"], facts["inputs"]
    except (ValueError, KeyError) as error:
        why = " ".join(str(error).split())
        raise IntegrityError(f"{folder.location}/{name}.toml is damaged ({why}): restore it from a backup") from error
    return facts


def write_chunks(folder: Folder, name: str, chunks: Sequence[Chunk]) -> str:
    """Write the plan of a generation; gives the digest that its .toml will hold."""
    rows = [{"chunk": chunk.name, "rows": chunk.rows, "spec": chunk.to_json()} for chunk in chunks]
    plan = parquet_bytes(pa.Table.from_pylist(rows, schema=PLAN))
    folder.write(f"{name}.parquet", plan)
    return hashlib.sha256(plan).hexdigest()


def read_chunks(folder: Folder, name: str, digest: str) -> list[Chunk]:
    """The chunks of a generation.

    Raises:
        IntegrityError: the file is not the one that its .toml speaks of.
    """
    file, facts = f"{folder.location}/{name}.parquet", "run.toml" if name == FIRST else f"{name}.toml"
    if not folder.exists(f"{name}.parquet"):
        raise IntegrityError(f"{file} is missing: restore it from a backup")
    if hashlib.sha256(folder.read(f"{name}.parquet")).hexdigest() != digest:
        raise IntegrityError(f"{file} is not the plan that {facts} was written for: restore both from a backup")
    return [Chunk.from_json(spec) for spec in read_table(folder, f"{name}.parquet")["spec"].to_pylist()]


def write_generation(
    folder: Folder,
    chunks: Sequence[Chunk],
    inputs: Iterable[InputFacts],
    versions: Mapping[str, str],
    left_out: Sequence[str],
) -> None:
    """Append a generation: its chunks first, then its .toml, without which it does not count."""
    name = f"{FIRST}-{len(appended(folder)) + 1:04d}"
    facts = {
        "rows": sum(chunk.rows for chunk in chunks),
        "chunks": len(chunks),
        "plan": write_chunks(folder, name, chunks),
        **({"left_out": list(left_out)} if left_out else {}),
        "inputs": inputs_table(inputs),
        "versions": dict(versions),
    }
    folder.write(f"{name}.toml", to_toml(facts).encode())


def inputs_table(inputs: Iterable[InputFacts]) -> list[dict[str, Any]]:
    """Inputs as a .toml holds them."""
    return [{"identity": name, "size": size, "digest": digest} for name, size, digest in inputs]

"""Who had used certain rows of a run: selections, exports, and files that are not the run's to change."""

import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from capfilt.core.storage import Folder
from capfilt.core.tables import parquet_format
from capfilt.ledger.ledger import Ledger

EXPORTS: Final = "exports"
"""The folder of a run that tells of its exports: a .toml each, and beside it a folder with the uids that went out."""

SEARCHED: Final = 1000
"""Rows whose names are looked for in files of unknown kinds."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What had used some of the rows."""

    name: str
    images: int
    texts: int | None  # None: not known


def trace_usage(folder: Folder, names: Sequence[str], uids: pa.Array) -> Iterator[Usage]:
    """The selections and exports that hold some of the rows.

    Args:
        names: all files under `folder`.
    """
    for place in sorted({name.rpartition("decisions/")[0] for name in names if _is_decision(name)}):
        files = [name for name in names if name.startswith(f"{place}decisions/") and name.endswith(".parquet")]
        kept = rows_of(folder, files, ["uid", "keep"], uids)
        kept = kept.filter(kept["keep"])
        if kept.num_rows:
            yield Usage(f"selection {_policy(folder, place)}", len(pc.unique(kept["uid"])), kept.num_rows)
    for name in names:
        if name.startswith(f"{EXPORTS}/") and name.endswith(".toml"):
            facts = tomllib.loads(folder.read(name).decode())
            stem = name.removesuffix(".toml")
            files = [one for one in names if one.startswith(f"{stem}/") and one.endswith(".parquet")]
            if count := rows_of(folder, files, ["uid"], uids).num_rows:
                yield Usage(f"export {facts['to']} ({facts['format']})", count, None)


def rows_of(folder: Folder, files: Sequence[str], columns: list[str], uids: pa.Array) -> pa.Table:
    """The given columns of the rows with one of the uids, of several Parquet files of one kind."""
    if not files:
        return pa.table({name: pa.array([], pa.string()) for name in columns})
    paths = [folder.full(name) for name in files]
    data = ds.dataset(paths, format=parquet_format(), filesystem=folder.filesystem)
    return data.to_table(columns=columns, filter=ds.field("uid").isin(uids))


def input_files(ledger: Ledger, sources: Sequence[str]) -> dict[str, int]:
    """The input files that rows came from, by their `source`, and how many of each."""
    files = {part.identity: part.file for chunk in ledger.read_plan() for part in chunk.parts}
    found: Counter[str] = Counter()
    for source in sources:
        # A source is identity#key, and a file's name may hold a # too.
        ends = (at for at, letter in enumerate(source) if letter == "#")
        found.update([next((files[source[:at]] for at in ends if source[:at] in files), source)])
    return dict(sorted(found.items()))


def files_naming(folder: Folder, names: Sequence[str], words: Sequence[str]) -> list[str]:
    """Those of the files that hold one of the words (of the first `SEARCHED` rows) as it is written."""
    # What is typed on a command line need not be UTF-8; Python has it as lone surrogates.
    needles = [word.encode("utf-8", "surrogatepass") for word in words]
    return [name for name in names if _holds(folder.read(name), needles)]


def _holds(data: bytes, needles: Sequence[bytes]) -> bool:
    return any(needle in data for needle in needles)


def _is_decision(name: str) -> bool:
    return name.endswith(".parquet") and "decisions/" in name


def _policy(folder: Folder, place: str) -> str:
    """What to call the selection whose decisions stand in a folder."""
    name = f"{place.rstrip('/')}.toml" if place else "selection.toml"
    facts: dict[str, Any] = tomllib.loads(folder.read(name).decode()) if folder.exists(name) else {}
    title = place.removeprefix("selections/").rstrip("/") or "corpus/"
    return f"{title} (policy {facts['policy']})" if facts else title

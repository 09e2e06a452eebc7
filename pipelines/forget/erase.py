"""erase: take rows out of every file of a run, so that it may be killed anywhere and begun again.

What is to go stands in forgotten.json as hashes, so who comes next can finish it. Every step looks for what is
still there and is done only where there is something. A chunk's failures are written first (they get the tombstones),
its record last; forgotten.json is emptied of what was pending when nothing is left to do.
"""

import hashlib
import tomllib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core import schema
from capfilt.core.chunks import Chunk
from capfilt.core.serialization import parquet_bytes, to_toml
from capfilt.core.storage import TMP_PREFIX, Folder
from capfilt.core.tables import read_schema, read_table
from capfilt.ledger.generations import FIRST, PLAN, appended
from capfilt.ledger.joined import CaptionsReader, captions_schema
from capfilt.ledger.ledger import DAMAGED, Ledger
from capfilt.ledger.transaction import PLACE
from capfilt.pipelines.dedup.groups import FACTS, without_members
from capfilt.pipelines.forget.erase_layers import shrink_layers
from capfilt.pipelines.readers import redacted
from capfilt.pipelines.selection.diff import ANY, Diff, compare, keys, moves
from capfilt.pipelines.selection.scores import judge_columns
from capfilt.pipelines.stages.commit import chunk_files, table_bytes
from capfilt.pipelines.stages.tombstones import Tombstones, tombstone_rows

DERIVED: Final = ("report.html",)
"""Files made from the tables that show rows; they are removed, for each can be made again."""

Gone = Callable[[str], bool]

_PICTURES: Final = b"huggingface"
"""Metadata of our files with images, see `table_bytes`."""

_HEADS: Final = {"failures": ["uid", "reason"], "images": ["uid"], "captions": ["uid"]}
"""The tables of a chunk in the order they are written, and what of them shows whether something is to go."""


def erase(folder: Folder, stones: Tombstones) -> None:
    """Remove all that is pending from every file under `folder`, then write that nothing is pending any more."""
    _remove_drafts(folder)
    _redact_plan(folder, lambda source: stones.hash("source", source) in stones.pending)
    done: set[str] = set()
    while left := Ledger(folder).committed() - done:  # again: a worker that outlived its run may still commit one
        ledger = Ledger(folder)
        for chunk in ledger.read_plan():
            if chunk.name in left:
                _erase_chunk(ledger, chunk, stones)
        done |= left
    for name in folder.tree():
        if name in DERIVED:
            folder.delete(name)
        elif name.endswith(".parquet"):
            _erase_file(folder, name, stones)
    _restamp(folder, stones.before)
    replace(stones, pending=frozenset(), before="").write(folder)


def _remove_drafts(folder: Folder) -> None:
    """Drafts of killed writers, replayed transactions, copies of damaged files: unread, yet they hold rows."""
    for name in folder.tree():
        if name.rpartition("/")[2].startswith(TMP_PREFIX) or name.startswith((f"{PLACE}/", f"{DAMAGED}/")):
            folder.delete(name)


def _redact_plan(folder: Folder, gone: Gone) -> None:
    """Take names of rows out of the plans, and tell run.toml, or a generation's own .toml, the new digest."""
    for name, facts in {FIRST: "run.toml", **{name: f"{name}.toml" for name in appended(folder)}}.items():
        _redact_generation(folder, f"{name}.parquet", facts, gone)


def _redact_generation(folder: Folder, plan: str, facts: str, gone: Gone) -> None:
    table = read_table(folder, plan, schema=PLAN)
    specs = [_redacted_spec(spec, gone) for spec in table["spec"].to_pylist()]
    # The plan before its .toml, which holds its digest: killed between the two, the next call finds another digest
    # and writes the .toml alone.
    if specs != table["spec"].to_pylist():
        table = table.set_column(table.schema.get_field_index("spec"), PLAN.field("spec"), pa.array(specs))
        folder.write(plan, parquet_bytes(table))
    digest = hashlib.sha256(folder.read(plan)).hexdigest()
    told = tomllib.loads(folder.read(facts).decode())
    if told["plan"] != digest:
        folder.write(facts, to_toml(told | {"plan": digest}).encode())


def _redacted_spec(spec: str, gone: Gone) -> str:
    chunk = Chunk.from_json(spec)
    return replace(chunk, parts=tuple(redacted(part, gone) for part in chunk.parts)).to_json()


def _erase_chunk(ledger: Ledger, chunk: Chunk, stones: Tombstones) -> None:
    folder, spec = ledger.folder, ledger.spec_digest(chunk)
    heads = {
        name: read_table(folder, f"{name}/{chunk.name}.parquet", columns=columns) for name, columns in _HEADS.items()
    }
    record = _read(folder, f"commits/{chunk.name}.parquet").to_pylist()[0]
    if _fits(record, heads, spec) and not any(pc.any(_marked(head, stones)).as_py() for head in heads.values()):
        return
    tables = {name: _read(folder, f"{name}/{chunk.name}.parquet") for name in _HEADS}
    tables["failures"] = _with_tombstones(tables["failures"], tables["images"], stones)
    for name in ("images", "captions"):
        tables[name] = tables[name].filter(pc.invert(_marked(tables[name], stones)))
    files, made = chunk_files(tables, chunk, spec)
    shrink_layers(folder, record, {**made.to_pylist()[0], "uids": tables["images"]["uid"].combine_chunks()})
    for file, data in files.items():
        folder.write(file, data)


def _with_tombstones(failures: pa.Table, images: pa.Table, stones: Tombstones) -> pa.Table:
    """`failures` with a tombstone for every row, of itself or of `images`, that is to go."""
    mine, others = _marked(failures, stones), _marked(images, stones)
    lost = [*failures.filter(mine)["uid"].to_pylist(), *images.filter(others)["uid"].to_pylist()]
    kept = failures.filter(pc.invert(mine))
    known = pc.equal(kept["reason"], schema.Reason.FORGOTTEN).fill_null(False)
    marks = {*kept.filter(known)["uid"].to_pylist(), *(stones.hash("uid", uid) for uid in lost)}
    return pa.concat_tables([kept.filter(pc.invert(known)), tombstone_rows(marks)]).combine_chunks()


def _marked(rows: pa.Table, stones: Tombstones) -> pa.ChunkedArray:
    """Which rows have a uid that is to go; each different uid is hashed once."""
    uids = pc.unique(rows["uid"]).drop_null().to_pylist()
    gone = [uid for uid in uids if stones.hash("uid", uid) in stones.pending]
    return pc.is_in(rows["uid"], pa.array(gone, pa.string()))


def _fits(record: dict[str, Any], heads: dict[str, pa.Table], spec: str) -> bool:
    """Whether a record is that of its files; it is not, where the writing of a chunk was interrupted."""
    reasons = Counter(heads["failures"]["reason"].to_pylist())
    counts = all(record[name] == head.num_rows for name, head in heads.items())
    return counts and dict(record["reasons"]) == reasons and record["spec"] == spec


def _erase_file(folder: Folder, name: str, stones: Tombstones) -> None:
    """Take the rows out of any other table that has uids."""
    if "uid" not in read_schema(folder, name).names:
        return
    head = read_table(folder, name, columns=["uid"])
    if not pc.any(_marked(head, stones)).as_py():
        return
    table = _read(folder, name)
    rest = table.filter(pc.invert(_marked(table, stones)))
    left = without_members(rest, name)
    if left.num_rows < rest.num_rows:  # a group lost its representative, and who stands for the others is not known
        folder.delete(FACTS)
    folder.write(name, table_bytes(left) if _PICTURES in (left.schema.metadata or {}) else parquet_bytes(left))


def _read(folder: Folder, name: str) -> pa.Table:
    """A whole table in the types it was written from; a Parquet file does not say them all."""
    columns = read_schema(folder, name)
    if _PICTURES in (columns.metadata or {}):
        columns = columns.set(columns.get_field_index("image"), pa.field("image", schema.IMAGE))
    table = read_table(folder, name, schema=columns)
    return table.cast(pa.schema([field.with_type(_as_made(field.type)) for field in columns], columns.metadata))


def _as_made(kind: pa.DataType) -> pa.DataType:
    """Parquet calls what is in a list `element`, Arrow `item`; the bytes of a file depend on it."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_as_made(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_name("item").with_type(_as_made(kind.value_type)))
    return kind


def _restamp(folder: Folder, before: str) -> None:
    """What was made from the commits as they were `before` counts as made from those that are there now."""
    ledger = Ledger(folder)
    now = ledger.fingerprint()
    for name in folder.tree():
        if name.endswith(".toml") and before.encode() in (old := folder.read(name)):
            facts = tomllib.loads(old.replace(before.encode(), now.encode()).decode())
            if name == "selection.toml" or name.startswith("selections/"):
                facts["result"] |= _counted(ledger, name.removesuffix("selection.toml").replace(".toml", "/"))
            folder.write(name, to_toml(facts).encode())


def _decided(captions: pa.Table, decisions: pa.Table) -> tuple[pa.Table, pa.Table]:
    """The texts that have a decision, and their decisions: layers with captions come and go without one."""
    places = pc.index_in(keys(decisions), value_set=keys(captions).combine_chunks())
    return captions.take(places.drop_null()), decisions.filter(pc.is_valid(places))


def _counted(ledger: Ledger, place: str) -> dict[str, Any]:
    """What the decisions in a folder come to now, as `select.Selection` has it."""
    names = ["uid", "candidate", "source", "text", *judge_columns(captions_schema(ledger))]
    total, reader = Diff(), CaptionsReader(ledger, names)
    for chunk in sorted(ledger.committed()):
        captions, decisions = _decided(reader.read(chunk), _read(ledger.folder, f"{place}decisions/{chunk}.parquet"))
        total.add(compare(chunk, captions, None, decisions))
    texts = {source: moves(total.texts, source) for source in total.sources}
    wrong = {source: total.expected_wrong(source) for source in total.sources}
    return {
        "images": moves(total.images, ANY).after,
        "kept": {source: moved.after for source, moved in texts.items() if moved.after},
        "dropped": {source: moved.dropped for source, moved in texts.items() if moved.dropped},
        "expected_wrong": {source: round(share, 6) for source, share in wrong.items() if share is not None},
    }

"""select: a policy decides over all captions; decisions/ and corpus/, one file a chunk, are what came of it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from capfilt import config, schema
from capfilt.errors import Unbalanced
from capfilt.ledger import Ledger
from capfilt.pipelines.commit import table_bytes
from capfilt.pipelines.policy import decide, read_policy
from capfilt.stable import parquet_bytes, to_toml
from capfilt.storage import Folder

TABLES: Final = ("decisions", "corpus")


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selection came to."""

    kept: dict[str, int]  # texts by source
    dropped: dict[str, int]  # texts by source
    images: int  # with at least one kept text: the rows of corpus/


def select(folder: Folder, settings: config.Select, images: Literal["bytes", "reference"] = "bytes") -> Selection:
    """Decide every candidate of the committed chunks and write decisions/, corpus/ and, last, selection.toml.

    Does nothing when just this selection is there already. The same commits and settings give the same bytes.

    Args:
        images: `reference` leaves `image.bytes` empty in corpus/; they stand in images/ under the same uid.

    Raises:
        ConfigError: no such policy, or one that does not decide every candidate once; names the policy.
        Unbalanced: the committed files do not fit together.
    """
    ledger, policy = Ledger(folder), read_policy(settings.policy)
    parameters = settings.model_dump(exclude={"policy"})
    basis = {
        "policy": policy.name,
        "sha256": policy.digest,
        "parameters": parameters,
        "images": images,
        "commits": ledger.fingerprint(),
    }
    old = ledger.selection()
    if basis == {key: old.get(key) for key in basis} and _is_whole(ledger):
        return Selection(**old["result"])
    with decide(ledger, policy, parameters) as decided:
        folder.delete("selection.toml")  # while it is away, nobody takes a mixture of two selections for one
        result = _write_tables(ledger, decided, images)
    folder.write("selection.toml", to_toml({**basis, "result": asdict(result)}).encode())
    return result


def _is_whole(ledger: Ledger) -> bool:
    wanted = {f"{table}/{chunk}.parquet" for table in TABLES for chunk in ledger.committed()}
    return wanted <= {name for table in TABLES for name in ledger.folder.names(table, ".parquet")}


def _write_tables(ledger: Ledger, decided: Iterator[tuple[str, pa.Table]], images: str) -> Selection:
    folder, columns = ledger.folder, ledger.captions_schema()
    counts: Counter[tuple[str, bool]] = Counter()
    kept_images = 0
    for chunk, decisions in decided:
        captions = _read(folder, f"captions/{chunk}.parquet", columns)
        if not captions["uid"].equals(decisions["uid"]):
            raise Unbalanced(f"captions/{chunk}.parquet does not hold the candidates that were decided")
        corpus = corpus_table(_images(folder, chunk, images), captions, decisions)
        folder.write(f"decisions/{chunk}.parquet", parquet_bytes(decisions))
        folder.write(f"corpus/{chunk}.parquet", table_bytes(corpus) if images == "bytes" else parquet_bytes(corpus))
        counts.update(_count(captions, decisions))
        kept_images += corpus.num_rows
    kept, dropped = (
        {source: n for (source, keep), n in sorted(counts.items()) if keep is side} for side in (True, False)
    )
    return Selection(kept, dropped, kept_images)


def _read(folder: Folder, name: str, columns: pa.Schema) -> pa.Table:
    return pq.read_table(pa.BufferReader(folder.read(name)), schema=columns)


def _images(folder: Folder, chunk: str, images: str) -> pa.Table:
    """uid, image, width and height of the chunk's images; by reference, without reading the bytes."""
    wanted = {name: pc.field(name) for name in ("uid", "image", "width", "height")}
    if images == "reference":
        wanted["image"] = pc.field("image", "path")
    file = ds.dataset(folder.full(f"images/{chunk}.parquet"), schema.IMAGES, "parquet", folder.filesystem)
    table = file.to_table(columns=wanted)
    if images == "bytes":
        return table
    empty = pa.nulls(table.num_rows, pa.large_binary())
    image = pa.StructArray.from_arrays([empty, table["image"].combine_chunks()], fields=list(schema.IMAGE))
    return table.set_column(1, "image", image)


def corpus_schema(captions: pa.Schema) -> pa.Schema:
    """The schema of corpus/ for a schema of captions/: the judges' columns go into the structs of `captions`."""
    fixed = {"uid", *(field.name for field in schema.CANDIDATE)}
    judges = [field for field in captions if field.name not in fixed]
    text = [captions.field(name) for name in ("text", "source", "candidate")]
    return pa.schema(
        [
            pa.field("uid", pa.string(), nullable=False),
            ("image", schema.IMAGE),
            ("width", pa.int32()),
            ("height", pa.int32()),
            pa.field("captions", pa.list_(pa.struct([*text, *judges])), nullable=False),  # by rank
            pa.field("text", pa.string(), nullable=False),  # of rank 1
        ]
    )


def corpus_table(images: pa.Table, captions: pa.Table, decisions: pa.Table) -> pa.Table:
    """`corpus_schema` of one chunk: its images with at least one kept text, in the order of `images`.

    Args:
        images: uid, image, width, height.
        captions: `schema.captions_schema`, rows as in `decisions`.
    """
    columns = corpus_schema(captions.schema)
    keep = decisions["keep"]
    ranked = captions.append_column("rank", decisions["rank"]).filter(keep)
    position = pc.index_in(ranked["uid"], value_set=images["uid"].combine_chunks())
    if position.null_count:
        raise Unbalanced(f"a caption of image {ranked.filter(pc.is_null(position))['uid'][0]}, which is not there")
    ranked = ranked.append_column("position", position).sort_by([("position", "ascending"), ("rank", "ascending")])
    counts = np.bincount(ranked["position"].to_numpy(), minlength=images.num_rows)
    offsets = np.concatenate([[0], np.cumsum(counts[counts > 0])]).astype(np.int32)
    lists = pa.ListArray.from_arrays(offsets, _structs(ranked, columns.field("captions").type.value_type))
    best = ranked["text"].take(pa.array(offsets[:-1]))
    table = images.filter(pa.array(counts > 0)).append_column("captions", lists).append_column("text", best)
    return table.select(columns.names).cast(columns)


def _structs(table: pa.Table, kind: pa.StructType) -> pa.StructArray:
    return pa.StructArray.from_arrays([table[field.name].combine_chunks() for field in kind], fields=list(kind))


def _count(captions: pa.Table, decisions: pa.Table) -> dict[tuple[str, bool], int]:
    pairs = pa.table({"source": captions["source"], "keep": decisions["keep"]}).group_by(["source", "keep"])
    counted = pairs.aggregate([([], "count_all")]).to_pylist()
    return {(row["source"], row["keep"]): row["count_all"] for row in counted}

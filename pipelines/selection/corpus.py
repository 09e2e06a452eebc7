"""corpus/: the images that have a kept text, each with all of its kept texts, best first.

A loader must see the pixels that captioner and judges saw: an image that loaders decode in other ways is re-encoded
here. The original bytes stay in images/.
"""

from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from capfilt.core import schema
from capfilt.core.errors import IntegrityError
from capfilt.core.storage import Folder
from capfilt.core.tables import opened
from capfilt.pipelines.imaging.image_file import BadImage
from capfilt.pipelines.imaging.isolation.isolated import plain_isolated
from capfilt.pipelines.imaging.plain_file import Suffix

Images = Literal["bytes", "reference"]


def corpus_schema(captions: pa.Schema) -> pa.Schema:
    """The schema of corpus/ for a schema of captions/: the judges' columns go into the structs of `captions`."""
    fixed = {"uid", *(field.name for field in schema.CANDIDATE)}
    judges = [field for field in captions if field.name not in fixed]
    text = [captions.field(name) for name in ("text", "source", "candidate", "box")]
    return pa.schema(
        [
            pa.field("uid", pa.string(), nullable=False),
            ("image", schema.IMAGE),
            ("width", pa.int32()),
            ("height", pa.int32()),
            pa.field("captions", pa.list_(pa.struct([*text, *judges])), nullable=False),  # by rank
            pa.field("text", pa.string(), nullable=False),  # the best about the whole image
        ]
    )


def read_images(folder: Folder, chunk: str, images: Images) -> pa.Table:
    """uid, image, width and height of the chunk's images; by reference, without reading the bytes."""
    names = ["uid", "image.path" if images == "reference" else "image", "width", "height"]
    with opened(folder, f"images/{chunk}.parquet") as file:
        table = file.read(columns=names)
    path = pc.struct_field(table["image"].combine_chunks(), "path")
    empty = pa.nulls(table.num_rows, pa.large_binary())
    data = empty if images == "reference" else pc.struct_field(table["image"].combine_chunks(), "bytes")
    image = pa.StructArray.from_arrays([data.cast(pa.large_binary()), path], fields=list(schema.IMAGE))
    return pa.table({"uid": table["uid"], "image": image, "width": table["width"], "height": table["height"]})


def corpus_table(images: pa.Table, captions: pa.Table, decisions: pa.Table) -> pa.Table:
    """`corpus_schema` of one chunk: its images with at least one kept text, in the order of `images`.

    Args:
        images: uid, image, width, height.
        captions: uid, source, candidate, text, box and the judges' columns; rows as in `decisions`.

    Raises:
        IntegrityError: a text of an image that is not there.
    """
    columns = corpus_schema(captions.schema)
    ranked = captions.append_column("rank", decisions["rank"]).filter(decisions["keep"])
    position = pc.index_in(ranked["uid"], value_set=images["uid"].combine_chunks())
    if position.null_count:
        raise IntegrityError(f"a caption of image {ranked.filter(pc.is_null(position))['uid'][0]}, which is not there")
    ranked = ranked.append_column("position", position).sort_by([("position", "ascending"), ("rank", "ascending")])
    counts = np.bincount(ranked["position"].to_numpy(), minlength=images.num_rows)
    offsets = np.concatenate([[0], np.cumsum(counts[counts > 0])]).astype(np.int32)
    lists = pa.ListArray.from_arrays(offsets, _structs(ranked, columns.field("captions").type.value_type))
    best = ranked["text"].take(_best(ranked, offsets))
    kept = images.filter(pa.array(counts > 0))
    kept = kept.set_column(kept.column_names.index("image"), "image", plain_images(kept["image"].combine_chunks()))
    table = kept.append_column("captions", lists).append_column("text", best)
    return table.select(columns.names).cast(columns)


def _best(ranked: pa.Table, offsets: NDArray[np.int32]) -> pa.Array:
    """Of every image the row of its first text about all of it, which a text of a region is not; else its first."""
    whole = np.flatnonzero(pc.is_null(ranked["box"]).to_numpy())
    after = np.append(whole, ranked.num_rows)[np.searchsorted(whole, offsets[:-1])]
    return pa.array(np.where(after < offsets[1:], after, offsets[:-1]))


def _structs(table: pa.Table, kind: pa.StructType) -> pa.StructArray:
    return pa.StructArray.from_arrays([table[field.name].combine_chunks() for field in kind], fields=list(kind))


def plain_images(images: pa.Array, suffix: Suffix | None = None) -> pa.Array:
    """`schema.IMAGE` structs in which every image is a plain file (see `imaging.plain_file`), the others re-encoded.

    Structs without bytes, and plain files, stay as they are. What a codec has to look at is decoded in the process for
    that: its bytes are a stranger's, and here another part of the codec sees them than during the run.

    Raises:
        IntegrityError: an image can no longer be decoded; names it.
    """
    files, paths = pc.struct_field(images, "bytes"), pc.struct_field(images, "path")
    made = plain_isolated(files.to_pylist(), suffix)
    for path, one in zip(paths.to_pylist(), made, strict=True):
        if isinstance(one, BadImage):
            raise IntegrityError(f"image {path} was decoded before and cannot be now: {one.reason}, {one.detail}")
    if not any(made):
        return images
    return pa.array(
        [
            {"bytes": new[1], "path": _renamed(path, new[0])}
            if isinstance(new, tuple)
            else {"bytes": old.as_py(), "path": path}
            for new, old, path in zip(made, files, paths.to_pylist(), strict=True)
        ],
        schema.IMAGE,
    )


def _renamed(path: str, suffix: str) -> str:
    return f"{path.rpartition('.')[0]}.{suffix}"

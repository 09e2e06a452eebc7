"""What an export is made of: the images that a selection keeps a text of, chunk by chunk, and the cut into shards."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core import schema
from capfilt.core.errors import InputError
from capfilt.core.tables import read_table
from capfilt.ledger.joined import CaptionsReader, captions_schema
from capfilt.ledger.layers_of_run import is_current
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.imaging.plain_file import Suffix
from capfilt.pipelines.selection.corpus import corpus_schema, corpus_table, plain_images
from capfilt.pipelines.selection.scores import judge_columns

JPEG_SHARE: Final = 0.75
"""Of JPEGs, from which on the others become JPEGs too where all images must be of one format."""


def rows_schema(captions: pa.Schema) -> pa.Schema:
    """What formats get: `corpus_schema`, and where each image came from."""
    return pa.schema([*corpus_schema(captions), ("url", pa.string()), ("sha256", pa.string())])


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of an export: so many chunks."""

    number: int
    chunks: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.number:05d}"


@dataclass(frozen=True)
class Kept:
    """The pairs that a selection of a run keeps."""

    ledger: Ledger
    name: str  # of the selection; "" = the current one
    facts: dict[str, Any]  # its .toml

    @classmethod
    def of(cls, ledger: Ledger, name: str) -> Self:
        """The selection of that name.

        Raises:
            InputError: there is none, it is not of exactly the chunks there are, or it keeps nothing.
        """
        out, called = ledger.folder.location, f"selection {name!r}" if name else "selection"
        facts = ledger.selection(name) if not name or name in ledger.selections() else {}
        if not facts:
            known = f"; there are: {', '.join(ledger.selections())}" if ledger.selections() else ""
            raise InputError(f"{out}: no {called}; create it with `capfilt select {out}`{known}")
        if not is_current(ledger, facts):
            raise InputError(f"{out}: {called} does not match the committed chunks; re-run `capfilt select {out}`")
        if not facts["result"]["images"]:
            raise InputError(f"{out}: {called} keeps no image")
        return cls(ledger, name, facts)

    @property
    def images(self) -> int:
        return int(self.facts["result"]["images"])

    @property
    def texts(self) -> int:
        return sum(self.facts["result"]["kept"].values())

    @property
    def folder(self) -> str:
        """The folder of its decisions."""
        return f"selections/{self.name}/decisions" if self.name else "decisions"

    @property
    def schema(self) -> pa.Schema:
        return rows_schema(self._captions)

    @property
    def judges(self) -> list[str]:
        return list(judge_columns(captions_schema(self.ledger)))

    def shards(self, rows: int, size: int) -> list[Shard]:
        """The chunks in order, cut so that a shard has at most `rows` images and about `size` bytes, or one chunk."""
        shards: list[Shard] = []
        waiting: list[str] = []
        count = weight = 0
        for chunk, kept, bytes_ in self._weights():
            if waiting and (count + kept > rows or weight + bytes_ > size):
                shards.append(Shard(len(shards), tuple(waiting)))
                waiting, count, weight = [], 0, 0
            if kept:
                waiting.append(chunk)
                count, weight = count + kept, weight + bytes_
        return [*shards, Shard(len(shards), tuple(waiting))] if waiting else shards

    def read(self, shard: Shard, suffix: Suffix | None = None) -> pa.Table:
        """`rows_schema` of a shard; all images are in memory then, as files of one format if given."""
        table = pa.concat_tables([self._chunk(chunk) for chunk in shard.chunks]).combine_chunks()
        if suffix is None:
            return table
        images = plain_images(table["image"].combine_chunks(), suffix)
        return table.set_column(table.column_names.index("image"), "image", images)

    def common_suffix(self) -> Suffix:
        """The one format for all images: JPEG where most are, for PNG would be several times as large; else PNG."""
        jpegs = 0
        for chunk in self.ledger.records()["chunk"].to_pylist():
            images = read_table(self.ledger.folder, f"images/{chunk}.parquet", columns=["uid", "image.path"])
            kept = images.filter(pc.is_in(images["uid"], self._kept_uids(chunk)))
            # pyarrow names a field of a struct that is read alone by its last part.
            jpegs += pc.sum(pc.match_substring_regex(kept["path"], r"\.(jpg|mpo)$")).as_py() or 0
        return "jpg" if jpegs >= JPEG_SHARE * self.images else "png"

    def uids(self, shard: Shard) -> pa.Array:
        """The images of a shard."""
        return pa.concat_arrays([self._kept_uids(chunk) for chunk in shard.chunks])

    def _kept_uids(self, chunk: str) -> pa.Array:
        decisions = self._decisions(chunk, ["uid", "keep"])
        return pc.unique(decisions.filter(decisions["keep"])["uid"])

    def _weights(self) -> Iterator[tuple[str, int, int]]:
        """Of each chunk its name, the images kept and about the bytes of their images."""
        folder, records = self.ledger.folder, self.ledger.records()
        for chunk, images in zip(records["chunk"].to_pylist(), records["images"].to_pylist(), strict=True):
            kept = len(self._kept_uids(chunk))
            size = folder.filesystem.get_file_info(folder.full(f"images/{chunk}.parquet")).size
            yield chunk, kept, size * kept // max(images, 1)

    def _decisions(self, chunk: str, columns: list[str] | None = None) -> pa.Table:
        return read_table(self.ledger.folder, f"{self.folder}/{chunk}.parquet", columns=columns)

    @property
    def _captions(self) -> pa.Schema:
        return self._reader.schema

    @cached_property
    def _reader(self) -> CaptionsReader:
        return CaptionsReader(self.ledger, ["uid", "candidate", "source", "text", "box", *self.judges])

    def _chunk(self, chunk: str) -> pa.Table:
        folder, captions = self.ledger.folder, self._reader.read(chunk)
        images = read_table(folder, f"images/{chunk}.parquet", schema=schema.IMAGES)
        corpus = corpus_table(images.select(["uid", "image", "width", "height"]), captions, self._decisions(chunk))
        places = pc.index_in(corpus["uid"], value_set=images["uid"].combine_chunks())
        for name in ("url", "sha256"):
            corpus = corpus.append_column(name, images[name].take(places))
        return corpus.cast(rows_schema(self._captions))

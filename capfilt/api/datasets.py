"""A selection of a run as the data sets of other libraries, streamed chunk by chunk: no copy on disk, no export."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.export.rows import Kept, Shard

if TYPE_CHECKING:
    import datasets
    import ray.data


@dataclass(frozen=True, slots=True)
class Pairs:
    """The kept pairs of a run. Small, and can be pickled: processes that read get this and open the run anew."""

    location: str  # by a name that every process understands
    selection: str  # "" = the current one
    chunks: tuple[str, ...]  # that keep an image, in order
    max_pixels: int  # `decode.max_pixels` of the run

    @classmethod
    def of(cls, ledger: Ledger, selection: str) -> "Pairs":
        """Those of a selection.

        Raises:
            InputError: no such selection, one that is not of all the run's chunks, or one that keeps nothing.
        """
        kept = Kept.of(ledger, selection)
        shards = kept.shards(rows=1, size=1)  # so small that each is one chunk
        chunks = tuple(chunk for shard in shards for chunk in shard.chunks)
        return cls(ledger.folder.everywhere, selection, chunks, ledger.run["recipe"]["decode"]["max_pixels"])

    def read(self, chunk: str) -> pa.Table:
        """`export.rows.rows_schema` of a chunk."""
        return Kept.of(Ledger.at(self.location), self.selection).read(Shard(0, (chunk,)))

    def rows(self, chunks: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The rows of some chunks as Python values, `image` as `{"bytes", "path"}`."""
        for chunk in chunks:
            for batch in self.read(chunk).to_batches(max_chunksize=64):
                yield from batch.to_pylist()


def hf_dataset(pairs: Pairs) -> "datasets.IterableDataset":
    """See `Run.to_hf`."""
    import datasets

    kept = Kept.of(Ledger.at(pairs.location), pairs.selection)
    columns = datasets.Features.from_arrow_schema(kept.schema.remove_metadata())
    features = datasets.Features({**columns, "image": datasets.Image()})
    chunks = {"chunks": list(pairs.chunks)}  # a list, for its parts are what workers share
    made: datasets.IterableDataset = datasets.IterableDataset.from_generator(
        pairs.rows, features=features, gen_kwargs=chunks
    )
    return made


def ray_data(pairs: Pairs) -> "ray.data.Dataset":
    """See `Run.to_ray`."""
    from capfilt.pipelines.engine.ray_dataset import ray_dataset

    data: ray.data.Dataset = ray_dataset(pairs.chunks, pairs.read)
    return data

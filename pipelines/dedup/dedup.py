"""dedup: which images of a run look alike and which of its texts say about the same, recorded in OUT/duplicates/."""

import tomllib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Self

import pyarrow as pa
import pyarrow.compute as pc

from capfilt.core.errors import ConfigError
from capfilt.core.serialization import parquet_bytes, to_toml
from capfilt.core.storage import Folder
from capfilt.ledger.layers_of_run import fingerprints, layer_states
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.dedup.captions import duplicate_captions
from capfilt.pipelines.dedup.groups import CAPTIONS, FACTS, IMAGES, is_representative
from capfilt.pipelines.dedup.images import duplicate_images

MOST_BITS: Final = 16
"""Beyond, unlike images are near: random hashes differ in 32 bits, give or take 4."""


@dataclass(frozen=True, slots=True)
class Groups:
    """What a table of duplicates comes to."""

    groups: int
    rows: int  # in groups
    spare: int  # that are not the representative of their group
    exact: int  # spare ones at distance 0

    @classmethod
    def of(cls, table: pa.Table) -> Self:
        """Count."""
        spare = table.filter(pc.invert(is_representative(table)))
        exact = spare.filter(pc.equal(spare["distance"], 0)).num_rows
        return cls(pc.count_distinct(table["group"]).as_py(), table.num_rows, spare.num_rows, exact)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Near-duplicates of a run."""

    images: Groups
    captions: Groups
    fresh: bool  # found now; else they stood there already


def find_duplicates(folder: Folder, *, radius: int, similarity: float, against: Sequence[str] = ()) -> Duplicates:
    """Find the near-duplicates of a run and record them; does nothing where just these are recorded already.

    Args:
        radius: bits of 64 in which the phashes of two images may differ.
        similarity: Jaccard similarity that two texts must have.
        against: folders of other runs; an image that is like one of theirs is represented by it.

    Raises:
        ConfigError: a radius or a similarity that is out of bounds.
        InputError: there is no run in one of the folders.
    """
    if not 0 <= radius <= MOST_BITS:
        raise ConfigError(f"--radius {radius}: must be 0 to {MOST_BITS}")
    if not 0.5 <= similarity <= 1:
        raise ConfigError(f"--similarity {similarity}: must be 0.5 to 1")
    ledger, others = Ledger(folder), [Ledger.at(location) for location in against]
    basis = {"commits": _commits(ledger), "radius": radius, "similarity": similarity}
    basis["added"] = _added(ledger)
    basis["against"] = [{"run": other.folder.location, "commits": _commits(other)} for other in others]
    with ledger.lock():
        old = tomllib.loads(folder.read(FACTS).decode()) if folder.exists(FACTS) else {}
        if basis == {key: old.get(key, {} if key == "added" else None) for key in basis}:
            return Duplicates(Groups(**old["images"]), Groups(**old["captions"]), False)
        folder.delete(FACTS)  # while it is away, nobody takes the tables for those of this run and these settings
        images, captions = duplicate_images(ledger, others, radius), duplicate_captions(ledger, similarity)
        folder.write(IMAGES, parquet_bytes(images))
        folder.write(CAPTIONS, parquet_bytes(captions))
        found = Duplicates(Groups.of(images), Groups.of(captions), True)
        counts = {"images": asdict(found.images), "captions": asdict(found.captions)}
        folder.write(FACTS, to_toml(basis | counts).encode())
    return found


def _added(ledger: Ledger) -> dict[str, str]:
    """The captioners' layers: further texts."""
    states = layer_states(ledger)
    return fingerprints([state for state in states if state.layer.subject == "captions"])


def _commits(ledger: Ledger) -> str:
    _ = ledger.run  # raises where there is no run
    return ledger.fingerprint()

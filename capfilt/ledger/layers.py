"""Layers: what one annotator says of a run that is there already, without a file of the run being written again.

layers/NAME.toml                    what the layer is: annotator, weights, settings, columns; written first
layers/NAME/000012.parquet          what it says of a chunk: `uid, candidate` of texts, `uid` of images, and its columns
layers/NAME/commits/000012.parquet  the record of that file, written after it

A record names the very files of the chunk that were annotated (`Layer.spec_digest`). Where the chunk has changed since,
by a retry or a repair, the layer says nothing of it until it is annotated again.
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import pyarrow as pa

from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, IntegrityError
from capfilt.core.secrets import without_secret_settings
from capfilt.core.serialization import canonical_json, to_toml
from capfilt.core.storage import Folder
from capfilt.core.tables import damage_named, parquet_format
from capfilt.ledger.compatibility import settings_that_matter
from capfilt.ledger.ledger import Ledger

if TYPE_CHECKING:
    import pyarrow.dataset as ds

LAYERS: Final = "layers"

Subject = Literal["texts", "images"]
"""What a layer is about."""

KEYS: Final[Mapping[str, pa.Schema]] = {
    "texts": pa.schema(
        [pa.field("uid", pa.string(), nullable=False), pa.field("candidate", pa.int32(), nullable=False)]
    ),
    "images": pa.schema([pa.field("uid", pa.string(), nullable=False)]),
}
"""The first columns of a layer's table, by what it is about."""

TABLES: Final[Mapping[str, str]] = {"texts": "captions", "images": "images"}
"""The table of the run that a layer stands beside, row by row."""

LAYER_COMMITS: Final = pa.schema(
    [
        pa.field("chunk", pa.string(), nullable=False),  # name of the chunk
        pa.field("rows", pa.int64(), nullable=False),  # texts or images of the chunk
        pa.field("without", pa.int64(), nullable=False),  # of these, rows that the annotator could say nothing of
        pa.field("reasons", pa.map_(pa.string(), pa.int64())),  # of those, by the `Reason` that their image failed for
        pa.field("sha256", pa.string(), nullable=False),  # of the chunk's file
        pa.field("size", pa.int64(), nullable=False),  # of it, in bytes
        pa.field("spec", pa.string(), nullable=False),  # `Layer.spec_digest`
    ]
)
"""The record of a chunk of a layer."""

_SECTIONS: Final = ("decode.", "score.", "engine.")
"""Settings that decide what an annotator says; those of inputs and of captions have done their work before."""


@dataclass(frozen=True)
class Layer:
    """One layer of the run in `folder`.

    Args:
        facts: of NAME.toml: `subject`, `annotator` (a name of `capfilt models` or a directory), `run` (`run_identity`),
            `columns` (name -> type, as Arrow spells it), `models` (role and name -> digest), `versions`, `recipe`.
    """

    folder: Folder
    name: str
    facts: Mapping[str, Any]

    @property
    def place(self) -> str:
        return f"{LAYERS}/{self.name}"

    @property
    def subject(self) -> Subject:
        subject: Subject = self.facts["subject"]
        return subject

    @property
    def columns(self) -> pa.Schema:
        """Its own columns, without the keys."""
        return pa.schema([(name, pa.type_for_alias(kind)) for name, kind in self.facts["columns"].items()])

    @property
    def schema(self) -> pa.Schema:
        """The columns of its files."""
        return pa.schema([*KEYS[self.subject], *self.columns])

    def table(self, chunk: str) -> str:
        """The name of a chunk's file."""
        return f"{self.place}/{chunk}.parquet"

    def record(self, chunk: str) -> str:
        """The name of a chunk's record."""
        return f"{self.place}/commits/{chunk}.parquet"

    @cached_property
    def identity(self) -> str:
        """sha256 over all that decides what it says of an image."""
        settings = settings_that_matter(self.facts["recipe"])
        own = {key: value for key, value in settings.items() if key.startswith(_SECTIONS) and key != "score.judges"}
        # Weights by digest, not by name: a checkpoint may have moved.
        basis = {"settings": own, "weights": sorted(self.facts["models"].values())}
        basis |= {name: self.facts[name] for name in ("subject", "columns")}
        return hashlib.sha256(canonical_json(basis).encode()).hexdigest()

    def spec_digest(self, record: Mapping[str, Any]) -> str:
        """sha256 over the layer's identity and the files of a chunk that it is made from.

        Args:
            record: of the chunk, `schema.COMMITS`; or only its `chunk` and `files`.
        """
        files = dict(record["files"])
        tables = ("images", "captions") if self.subject == "texts" else ("images",)
        basis = [self.identity, *(files[f"{table}/{record['chunk']}.parquet"] for table in tables)]
        return hashlib.sha256("\n".join(basis).encode()).hexdigest()

    def records(self) -> list[dict[str, Any]]:
        """All records (`LAYER_COMMITS`) in chunk order; some may be of chunks that have changed since."""
        import pyarrow.dataset as ds  # imports pandas, half a second that those who only plan need not pay

        files = [self.folder.full(name) for name in self.folder.names(f"{self.place}/commits", ".parquet")]
        with damage_named(f"{self.folder.location}/{self.place}/commits"):
            found = ds.FileSystemDataset.from_paths(
                files, schema=LAYER_COMMITS, format=parquet_format(), filesystem=self.folder.filesystem
            )
            rows: list[dict[str, Any]] = found.to_table().to_pylist()
        return rows

    def standing(self, chunks: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Its records by chunk, of those chunks that are as they were when they were annotated.

        Args:
            chunks: the run's commit records, by chunk.
        """
        return {
            record["chunk"]: record
            for record in self.records()
            if record["chunk"] in chunks and record["spec"] == self.spec_digest(chunks[record["chunk"]])
        }

    def check(self, chunks: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """The chunks that stand, in order, whose files are there in the sizes that their records tell; reads none.

        Args:
            chunks: as `standing` takes them.

        Raises:
            IntegrityError: a file is missing, or was cut short.
        """
        standing, sizes = self.standing(chunks), self.folder.sizes(self.place)
        for chunk, record in sorted(standing.items()):
            name = self.table(chunk)
            if sizes.get(name) != record["size"]:
                problem = f"has {sizes[name]} bytes, committed were {record['size']}" if name in sizes else "is missing"
                raise IntegrityError(
                    f"{self.folder.location}: {name} {problem}: `capfilt verify OUT --repair` makes it again"
                )
        return sorted(standing)

    def dataset(self, chunks: Mapping[str, Mapping[str, Any]]) -> "ds.Dataset":
        """Its files of the chunks that stand, in chunk order.

        Args:
            chunks: as `standing` takes them.

        Raises:
            IntegrityError: see `check`.
        """
        import pyarrow.dataset as ds

        return ds.FileSystemDataset.from_paths(
            [self.folder.full(self.table(chunk)) for chunk in self.check(chunks)],
            schema=self.schema,
            format=parquet_format(),
            filesystem=self.folder.filesystem,
        )

    def fingerprint(self, chunks: Mapping[str, Mapping[str, Any]]) -> str:
        """sha256 over its identity and the chunks that stand, which with the commits tell what it says."""
        return hashlib.sha256("\n".join([self.identity, *sorted(self.standing(chunks))]).encode()).hexdigest()

    def damage(self, record: Mapping[str, Any]) -> dict[str, str]:
        """The file of a chunk, if it is not what its record says, and what is wrong with it; reads all its bytes."""
        name = self.table(record["chunk"])
        try:
            is_whole = hashlib.sha256(self.folder.read(name)).hexdigest() == record["sha256"]
        except FileNotFoundError:
            return {name: "is missing"}
        return {} if is_whole else {name: "its bytes are not the committed ones"}

    def write(self) -> None:
        """Write NAME.toml, after whatever an interrupted `drop` of the same name left is gone."""
        self._clear()
        self.folder.write(f"{self.place}.toml", to_toml(self.facts).encode())

    def drop(self) -> None:
        """Remove it; NAME.toml goes first, so that an interrupted call leaves no half of a layer."""
        self.folder.delete(f"{self.place}.toml")
        self._clear()

    def _clear(self) -> None:
        for file in (*self.folder.names(f"{self.place}/commits"), *self.folder.names(self.place)):
            self.folder.delete(file)

    @classmethod
    def read(cls, folder: Folder, name: str, run: str = "") -> Self:
        """The layer of that name.

        Args:
            run: `run_identity`, where it is known: run.toml may name many inputs, and reading it takes time.

        Raises:
            IntegrityError: its .toml is damaged.
            ChangedError: it was made for another run.
        """
        file = f"{LAYERS}/{name}.toml"
        advice = f"`capfilt annotate OUT --drop {name}` removes it"
        try:
            facts = tomllib.loads(folder.read(file).decode())
            layer = cls(folder, name, facts)
            _ = layer.identity, layer.schema, facts["run"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = " ".join(str(error).split())
            raise IntegrityError(f"{folder.location}/{file} is damaged ({why}): {advice}") from error
        if facts["run"] != (run or run_identity(Ledger(folder))):
            raise ChangedError(f"{folder.location}: layer {name} was made for another run: {advice}")
        return layer


def by_chunk(records: pa.Table) -> dict[str, dict[str, Any]]:
    """The run's commit records by chunk."""
    return {record["chunk"]: record for record in records.to_pylist()}


def run_identity(ledger: Ledger) -> str:
    """sha256 over what a run was made of; another run, whose layer must not be taken for one of this, has another."""
    run = ledger.run
    basis = {name: run[name] for name in ("inputs", "models", "recipe")}
    return hashlib.sha256(canonical_json(basis).encode()).hexdigest()


def new_layer(
    ledger: Ledger,
    name: str,
    *,
    subject: Subject,
    annotator: str,
    columns: pa.Schema,
    models: Mapping[str, str],
    versions: Mapping[str, str],
    recipe: Recipe,
) -> Layer:
    """A layer that is to be made; nothing is written."""
    facts: dict[str, Any] = {
        "subject": subject,
        "annotator": annotator,
        "run": run_identity(ledger),
        "columns": {field.name: str(field.type) for field in columns},
        "models": dict(models),
        "versions": dict(versions),
        "recipe": recipe.model_dump(mode="json"),
    }
    facts["recipe"]["engine"]["ray"] = without_secret_settings(recipe.engine.ray)
    return Layer(ledger.folder, name, facts)

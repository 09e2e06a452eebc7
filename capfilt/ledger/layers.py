"""Layers: what one annotator says of a run that is there already, without a file of the run being written again.

layers/NAME.toml                    what the layer is: annotator, weights, settings, columns; written first
layers/NAME/000012.parquet          what it says of a chunk: `uid, candidate` of texts, `uid` of images, and its columns
layers/NAME/commits/000012.parquet  the record of that file, written after it

A captioner's layer holds further rows of captions/, judged by the judges of the run. What the layer of a judge says of
those is a part of its own: layers/JUDGE.CAPTIONS/000012.parquet, whose name no layer can have.

A record names the very files of the chunk that were annotated (`Layer.spec_digest`). Where the chunk has changed since,
by a retry or a repair, the layer says nothing of it until it is annotated again.
"""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Literal, Self

import pyarrow as pa

from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, IntegrityError
from capfilt.core.schema import captions_schema
from capfilt.core.secrets import without_secret_settings
from capfilt.core.serialization import canonical_json, column_type, to_toml, type_name
from capfilt.core.storage import Folder
from capfilt.core.tables import damage_named, parquet_format
from capfilt.ledger.compatibility import settings_that_matter
from capfilt.ledger.integrity import damage
from capfilt.ledger.ledger import Ledger

LAYERS: Final = "layers"

Subject = Literal["texts", "images", "captions"]
"""What a layer is about: the texts or the images of the run, or else captions that it adds to them."""

KEYS: Final[Mapping[str, pa.Schema]] = {
    "texts": pa.schema(
        [pa.field("uid", pa.string(), nullable=False), pa.field("candidate", pa.int32(), nullable=False)]
    ),
    "images": pa.schema([pa.field("uid", pa.string(), nullable=False)]),
    "captions": captions_schema(()),
}
"""The first columns of a layer's table, by what it is about."""

TABLES: Final[Mapping[str, str]] = {"texts": "captions", "images": "images"}
"""The table of the run that a layer stands beside, row by row; captions stand in none."""

LAYER_COMMITS: Final = pa.schema(
    [
        pa.field("chunk", pa.string(), nullable=False),  # name of the chunk
        pa.field("rows", pa.int64(), nullable=False),  # of its file: texts or images of the chunk, or new captions
        pa.field("without", pa.int64(), nullable=False),  # rows that it says nothing of; images without new captions
        pa.field("reasons", pa.map_(pa.string(), pa.int64())),  # of those, by the `Reason` that their image failed for
        pa.field("sha256", pa.string(), nullable=False),  # of the chunk's file
        pa.field("size", pa.int64(), nullable=False),  # of it, in bytes
        pa.field("spec", pa.string(), nullable=False),  # `Layer.spec_digest`
    ]
)
"""The record of a chunk of a layer."""

_SECTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "texts": ("decode.", "score.", "engine."),
    "images": ("decode.", "score.", "engine."),
    "captions": ("decode.", "score.", "engine.", "caption.", "endpoint."),
}
"""Settings that decide what an annotator says; those of inputs have done their work before."""

_NAMES: Final = ("score.judges", "score.image_judges", "score.tags", "score.head", "caption.captioner")
"""Settings that only name models and their files, whose digests count: a checkpoint may have moved."""

_CHOICES: Final = ("where", "offset")
"""Facts that decide what a layer says and that not every layer has."""

NO_CHOICES: Final[Mapping[str, Any]] = {}


@dataclass(frozen=True)
class Layer:
    """One layer of the run in `folder`, or what it says of the texts of another layer.

    Args:
        facts: of NAME.toml: `subject`, `annotator` (a name of `capfilt models` or a directory), `run` (`run_identity`),
            `columns` (name -> type, as Arrow spells it), `models` (role and name -> digest), `versions`, `recipe`;
            perhaps `where` (SQL: of which images), `needs` (names of the layers that it asks); of captions `offset`
            (candidates of earlier layers that theirs come behind).
        beside: the captioner's layer whose texts it speaks of; "" = those of the run.
    """

    folder: Folder
    name: str
    facts: Mapping[str, Any]
    beside: str = ""

    @property
    def label(self) -> str:
        """Its name, and behind it that of `beside`."""
        return f"{self.name}.{self.beside}" if self.beside else self.name

    @property
    def place(self) -> str:
        return f"{LAYERS}/{self.label}"

    @property
    def subject(self) -> Subject:
        subject: Subject = self.facts["subject"]
        return subject

    @property
    def columns(self) -> pa.Schema:
        """Its own columns, without the keys."""
        return pa.schema([(name, column_type(kind)) for name, kind in self.facts["columns"].items()])

    @property
    def where(self) -> str:
        """SQL that is true for the images that it is about; "" = all."""
        return str(self.facts.get("where", ""))

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the layers whose columns `where` asks for."""
        return tuple(self.facts.get("needs", ()))

    @property
    def made_from(self) -> tuple[str, ...]:
        """Names of the layers that it is made from: the captions that it judges, and those that `where` asks."""
        return (self.beside, *self.needs) if self.beside else self.needs

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
        mine = _SECTIONS[self.subject]
        own = {key: value for key, value in settings.items() if key.startswith(mine) and key not in _NAMES}
        basis = {"settings": own, "weights": sorted(self.facts["models"].values())}
        basis |= {name: self.facts[name] for name in ("subject", "columns")}
        basis |= {name: self.facts[name] for name in _CHOICES if name in self.facts}
        return hashlib.sha256(canonical_json(basis).encode()).hexdigest()

    def spec_digest(self, record: Mapping[str, Any], bases: Iterable[Mapping[str, Any]] = ()) -> str:
        """sha256 over the layer's identity and the files of a chunk that it is made from.

        Args:
            record: of the chunk, `schema.COMMITS`; or only its `chunk` and `files`.
            bases: the records that other layers have of the chunk, whose files it is made from too.
        """
        files = dict(record["files"])
        tables = ("images",) if self.subject == "images" and not self.where else ("images", "captions")
        basis = [self.identity, *(files[f"{table}/{record['chunk']}.parquet"] for table in tables)]
        return hashlib.sha256("\n".join([*basis, *(base["sha256"] for base in bases)]).encode()).hexdigest()

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

    def damage(self, record: Mapping[str, Any]) -> dict[str, str]:
        """The file of a chunk, if it is not what its record says, and what is wrong with it; reads all its bytes."""
        return damage(self.folder, {self.table(record["chunk"]): record["sha256"]})

    def write(self) -> None:
        """Write NAME.toml, after whatever an interrupted `drop` of the same name left is gone."""
        self._clear()
        self.folder.write(f"{self.place}.toml", to_toml(self.facts).encode())

    def drop(self) -> None:
        """Remove it; NAME.toml goes first, so that an interrupted call leaves no half of a layer."""
        self.folder.delete(f"{self.place}.toml")
        self._clear()

    def _clear(self) -> None:
        files = [file.split("/") for file in self.folder.tree(LAYERS)]
        own = [file for file in files if len(file) > 2 and self.name in file[1].split(".")]
        # Records first: without one a file counts for nothing.
        for file in sorted(own, key=len, reverse=True):
            self.folder.delete("/".join(file))

    @classmethod
    def read(cls, folder: Folder, name: str, run: str = "") -> Self:
        """The layer of that name, or of that `label`.

        Args:
            run: `run_identity`, where it is known: run.toml may name many inputs, and reading it takes time.

        Raises:
            IntegrityError: its .toml is damaged.
            ChangedError: it was made for another run.
        """
        name, _, beside = name.partition(".")
        file = f"{LAYERS}/{name}.toml"
        advice = f"`capfilt annotate OUT --drop {name}` removes it"
        try:
            facts = tomllib.loads(folder.read(file).decode())
            layer = cls(folder, name, facts, beside)
            _ = layer.identity, layer.schema, facts["run"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = " ".join(str(error).split())
            raise IntegrityError(f"{folder.location}/{file} is damaged ({why}): {advice}") from error
        if facts["run"] != (run or run_identity(Ledger(folder))):
            raise ChangedError(f"{folder.location}: layer {name} was made for another run: {advice}")
        return layer


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
    choices: Mapping[str, Any] = NO_CHOICES,
) -> Layer:
    """A layer that is to be made; nothing is written.

    Args:
        choices: `where`, `needs` and `offset`, where it has them.
    """
    facts: dict[str, Any] = {
        "subject": subject,
        "annotator": annotator,
        "run": run_identity(ledger),
        "columns": {field.name: type_name(field.type) for field in columns},
        "models": dict(models),
        "versions": dict(versions),
        **choices,
        "recipe": recipe.model_dump(mode="json"),
    }
    facts["recipe"]["engine"]["ray"] = without_secret_settings(recipe.engine.ray)
    return Layer(ledger.folder, name, facts)

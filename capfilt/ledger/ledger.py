"""The ledger of a run: what is planned, what is committed, and whether the counts balance.

plan.parquet          one row a chunk: its name, rows and spec (JSON); written once, before any work
plan-0001.parquet     the same of inputs that were appended later (`generations`)
run.toml              what the plan was made from: recipe, versions, weights, inputs; written after plan.parquet
commits/              one file a chunk, written after all other files of the chunk: it exists = the chunk is done
sessions/000000.json  how long each start of the driver took (`session`); the only file that holds times
"""

import hashlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import pyarrow as pa

from capfilt.core import schema
from capfilt.core.chunks import Chunk
from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, InputError, IntegrityError
from capfilt.core.secrets import without_secret_settings
from capfilt.core.serialization import canonical_json, to_toml
from capfilt.core.storage import Folder
from capfilt.core.tables import damage_named, parquet_format
from capfilt.ledger import transaction
from capfilt.ledger.compatibility import (
    changed_inputs,
    changed_limit,
    changed_models,
    changed_recipe,
    settings_that_matter,
)
from capfilt.ledger.generations import (
    FIRST,
    appended,
    generation_facts,
    inputs_table,
    read_chunks,
    write_chunks,
)
from capfilt.ledger.integrity import CHUNK_TABLES, damage, misfit
from capfilt.ledger.locking.driver import only_driver

if TYPE_CHECKING:
    import pyarrow.dataset as ds

DAMAGED: Final = "damaged"
"""Folder with copies of damaged files that `capfilt verify --repair` made again."""

WRITTEN: Final = (*CHUNK_TABLES, "commits", "decisions", "corpus", transaction.PLACE)
"""Folders that only the holder of the lock and its workers write."""


@dataclass(frozen=True)
class Ledger:
    """The ledger in the folder of a run."""

    folder: Folder

    @classmethod
    def at(cls, location: str | Path) -> Self:
        """The ledger at a local path or bucket URL; nothing needs to be there yet."""
        return cls(Folder.at(location))

    @property
    def planned(self) -> bool:
        return self.folder.exists("run.toml")

    def write_plan(
        self,
        chunks: Sequence[Chunk],
        inputs: Sequence[tuple[str, int, str]],
        recipe: Recipe,
        versions: Mapping[str, str],
        models: Mapping[str, str],
        limit: int | None = None,
        left_out: Sequence[str] = (),
    ) -> None:
        """Write plan.parquet, then run.toml.

        Args:
            inputs: identity, size in bytes and digest of every input file.
            versions: of capfilt, torch, ray, ...; kept as a note, never compared.
            models: role and name ("captioner demo-captioner") -> digest of the weights.
            limit: rows that `--limit` asked for.
            left_out: which files of the inputs are not read, and why; a line each.

        Raises:
            ChangedError: a plan is there already.
        """
        if self.planned:
            raise ChangedError(f"{self.folder.location} already holds a plan: use another --out")
        # run.toml goes last and holds the digest of plan.parquet: killed between the two, there is no run yet, and the
        # next start plans anew.
        plan = write_chunks(self.folder, FIRST, chunks)
        run: dict[str, Any] = {
            "rows": sum(chunk.rows for chunk in chunks),
            "chunks": len(chunks),
            "limit": limit or 0,
            "plan": plan,
            **({"left_out": list(left_out)} if left_out else {}),
            "inputs": inputs_table(inputs),
            "versions": dict(versions),
            "models": dict(models),
            "recipe": recipe.model_dump(mode="json"),
        }
        run["recipe"]["engine"]["ray"] = without_secret_settings(recipe.engine.ray)
        self.folder.write("run.toml", to_toml(run).encode())

    @cached_property
    def run(self) -> dict[str, Any]:
        """run.toml as it was written.

        Raises:
            InputError: there is no run here.
            IntegrityError: the file is damaged.
        """
        if not self.planned:
            raise InputError(f"{self.folder.location}: no run here (run.toml is missing)")
        advice = "restore it from a backup; the tables can still be read with DuckDB"
        run = self._toml("run.toml", advice)
        if missing := sorted({"plan", "recipe", "inputs", "models"} - run.keys()):
            raise IntegrityError(f"{self.folder.location}/run.toml is damaged (no {missing[0]}): {advice}")
        return run

    def read_plan(self) -> list[Chunk]:
        """All chunks in order, those of appended inputs last.

        Raises:
            InputError: there is no run here.
            IntegrityError: a plan is not the file that its .toml speaks of.
        """
        plans = {FIRST: self.run["plan"]} | {name: facts["plan"] for name, facts in self.generations().items()}
        try:
            return [chunk for name, digest in plans.items() for chunk in read_chunks(self.folder, name, digest)]
        except IntegrityError:
            self.check_forgetting()  # it rewrites a plan before its .toml
            raise

    def reread(self) -> None:
        """Read run.toml anew when it is asked for next: another `Ledger` of this folder has written it."""
        vars(self).pop("run", None)

    def generations(self) -> dict[str, dict[str, Any]]:
        """The .toml of every generation that was appended to the first plan, by its name ("plan-0001")."""
        return {name: generation_facts(self.folder, name) for name in appended(self.folder)}

    def inputs(self) -> list[dict[str, Any]]:
        """Identity, size and digest of all input files, those of appended generations too."""
        return [*self.run["inputs"], *(one for facts in self.generations().values() for one in facts["inputs"])]

    def left_out(self) -> list[str]:
        """What planning left out of the inputs, and why; a line each."""
        generations = [self.run, *self.generations().values()]
        return [line for facts in generations for line in facts.get("left_out", ())]

    def check_unchanged(
        self,
        inputs: Sequence[tuple[str, int, str]],
        recipe: Recipe,
        models: Mapping[str, str],
        limit: int | None = None,
    ) -> None:
        """Refuse to continue with another recipe, input or model than the plan was made from; arguments: `write_plan`.

        Raises:
            ChangedError: one line that names the first difference.
        """
        change = (
            changed_recipe(self.run["recipe"], recipe.model_dump(mode="json"))
            or changed_limit(self.run["limit"], limit or 0)
            or changed_inputs(self.run["inputs"], inputs)
            or changed_models(self.run["models"], models)
        )
        if change:
            out = self.folder.location
            raise ChangedError(f"{out}: {change}: use another --out")

    def spec_digest(self, chunk: Chunk) -> str:
        """sha256 over all that decides the chunk's bytes: its rows, the settings that matter and the weights."""
        settings = settings_that_matter(self.run["recipe"])
        basis = (chunk.to_json(), canonical_json(settings), canonical_json(self.run["models"]))
        return hashlib.sha256("\n".join(basis).encode()).hexdigest()

    def committed(self) -> set[str]:
        """Names of the chunks that are done (one listing)."""
        return {Path(name).stem for name in self.folder.names("commits", ".parquet")}

    def todo(self) -> list[Chunk]:
        """The chunks still to do, in order."""
        done = self.committed()
        return [chunk for chunk in self.read_plan() if chunk.name not in done]

    def dataset(self, table: str, columns: pa.Schema, chunks: Iterable[str] | None = None) -> "ds.Dataset":
        """The files of the committed chunks of a table, in chunk order; whatever else lies there is not seen.

        Args:
            chunks: names of committed chunks, for those who read several tables of one and the same state.

        Raises:
            IntegrityError: a committed file of images/, captions/ or failures/ is missing.
        """
        import pyarrow.dataset as ds  # imports pandas, half a second that those who only plan need not pay

        wanted = [f"{table}/{chunk}.parquet" for chunk in sorted(self.committed() if chunks is None else chunks)]
        there = set(self.folder.names(table, ".parquet"))
        if table in CHUNK_TABLES and (missing := [name for name in wanted if name not in there]):
            raise IntegrityError(f"{self.folder.location}: {missing[0]} is committed, but missing")
        files = [self.folder.full(name) for name in wanted if name in there]
        return ds.FileSystemDataset.from_paths(
            files, schema=columns, format=parquet_format(), filesystem=self.folder.filesystem
        )

    def records(self) -> pa.Table:
        """All commit records (`schema.COMMITS`) in chunk order."""
        with damage_named(f"{self.folder.location}/commits"):
            return self.dataset("commits", schema.COMMITS).to_table()

    def fingerprint(self, records: pa.Table | None = None) -> str:
        """sha256 over the records of all commits: what a selection was made from."""
        records = self.records() if records is None else records
        # Sizes came later (0.2): without them the commits of an older run keep their fingerprint.
        rows = [{name: value for name, value in row.items() if name != "sizes"} for row in records.to_pylist()]
        return hashlib.sha256(canonical_json(rows).encode()).hexdigest()

    def balance(self, records: pa.Table | None = None) -> None:
        """Check that every commit fits the plan, its own sums and the listing of its files.

        Args:
            records: what `records` gave, to spare reading them again.

        Raises:
            IntegrityError: the first thing that does not fit.
        """
        self.check_forgetting()
        chunks = {chunk.name: chunk for chunk in self.read_plan()}
        records = self.records() if records is None else records
        # Listed after the records are read: a run that works just now commits files first, records last.
        # Sizes come with the listing, so a file that was cut short is found without reading it.
        present = {name: size for table in CHUNK_TABLES for name, size in self.folder.sizes(table).items()}
        for record in records.to_pylist():
            chunk = chunks.get(record["chunk"])
            if problem := misfit(record, chunk, self.spec_digest(chunk) if chunk else "", present):
                raise IntegrityError(f"{self.folder.location}: commit {record['chunk']}: {problem}")

    def check_forgetting(self) -> None:
        """Raise `IntegrityError` if a `capfilt forget` was interrupted."""
        if self.forgetting:
            raise IntegrityError(
                f"{self.folder.location}: a forget was interrupted: finish it with `capfilt forget` without options"
            )

    @property
    def forgetting(self) -> bool:
        """Whether a `capfilt forget` was interrupted, so that files may not be what the commits say."""
        if not self.folder.exists("forgotten.json"):
            return False
        try:
            return bool(json.loads(self.folder.read("forgotten.json"))["before"])
        except (ValueError, KeyError, TypeError) as error:
            file = f"{self.folder.location}/forgotten.json"
            raise IntegrityError(
                f"{file} is damaged ({error}): restore it from a backup: it lists the rows that stay forgotten"
            ) from error

    def verify(self) -> None:
        """`balance`, then the sha256 of every file of every commit.

        Raises:
            IntegrityError: the first file that is not what its commit says.
        """
        records = self.records()
        self.balance(records)
        for record in records.to_pylist():
            if problems := damage(self.folder, dict(record["files"])):
                file, problem = next(iter(problems.items()))
                raise IntegrityError(f"{self.folder.location}/{file}: {problem}")

    def _toml(self, name: str, advice: str) -> dict[str, Any]:
        """A TOML file of the run.

        Raises:
            IntegrityError: it is damaged; `advice` says what to do.
        """
        try:
            return tomllib.loads(self.folder.read(name).decode())
        except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
            why = " ".join(str(error).split())
            raise IntegrityError(f"{self.folder.location}/{name} is damaged ({why}): {advice}") from error

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only driver of this folder (`only_driver`); pending transactions of a killed one are replayed.

        Raises:
            BusyError: another live process holds it; one line with its process id and host.
        """
        with only_driver(self.folder):
            # Drafts that a killed process left; a store shows no object before it is whole.
            for place in WRITTEN if self.folder.is_local else ():
                self.folder.sweep(place)
            transaction.replay_pending(self.folder)
            yield

    def selection(self, name: str = "") -> dict[str, Any]:
        """selection.toml: the policy, its parameters and what it was made from; empty while nothing is selected.

        Args:
            name: of a named selection instead of the current one.
        """
        file = f"selections/{name}.toml" if name else "selection.toml"
        if not self.folder.exists(file):
            return {}
        return self._toml(file, "delete it; `capfilt select` decides again from the stored scores")

    def selections(self) -> list[str]:
        """Names of the selections that were given one."""
        return [Path(file).stem for file in self.folder.names("selections", ".toml")]

    def named_decisions(self, columns: pa.Schema) -> "ds.Dataset":
        """The decisions of all `selections`.

        Args:
            columns: `name`, then `schema.DECISIONS`.
        """
        import pyarrow.dataset as ds

        files = {
            name: self.dataset(f"selections/{name}/decisions", schema.DECISIONS).files for name in self.selections()
        }
        return ds.FileSystemDataset.from_paths(
            [file for some in files.values() for file in some],
            schema=columns,
            format=parquet_format(),
            filesystem=self.folder.filesystem,
            partitions=[ds.field("name") == name for name, some in files.items() for _ in some],
        )

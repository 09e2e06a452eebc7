"""The layers of a run together: which there are, whether they are whole, and whether a selection still holds."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from capfilt.core.errors import IntegrityError
from capfilt.core.storage import Folder
from capfilt.ledger.layers import LAYERS, Layer, Subject, run_identity
from capfilt.ledger.ledger import Ledger

Records = Mapping[str, Mapping[str, Any]]
"""Records by chunk."""


@dataclass(frozen=True)
class LayerState:
    """A layer, and of which chunks it speaks.

    Args:
        chunks: the run's commit records.
        bases: the layers that it is made from: the captions that it judges, and those that its `where` asks.
    """

    layer: Layer
    chunks: Records
    bases: tuple["LayerState", ...] = ()

    @cached_property
    def standing(self) -> dict[str, dict[str, Any]]:
        """Its records by chunk, of those chunks that are as they were when they were annotated."""
        found = {record["chunk"]: record for record in self.layer.records() if self.can_have(record["chunk"])}
        return {chunk: record for chunk, record in found.items() if record["spec"] == self.spec_digest(chunk)}

    def can_have(self, chunk: str) -> bool:
        """Whether all is there that it is made from."""
        return chunk in self.chunks and all(chunk in base.standing for base in self.bases)

    def spec_digest(self, chunk: str) -> str:
        """`Layer.spec_digest` of a chunk that it `can_have`."""
        return self.layer.spec_digest(self.chunks[chunk], [base.standing[chunk] for base in self.bases])

    @property
    def lacking(self) -> list[str]:
        """The committed chunks that it lacks, or that have changed since it was made; in order."""
        return sorted(self.chunks.keys() - self.standing.keys())

    def check(self) -> None:
        """Make sure that its files are there in the sizes that their records tell; reads none.

        Raises:
            IntegrityError: a file is missing, or was cut short.
        """
        folder, sizes = self.layer.folder, self.layer.folder.sizes(self.layer.place)
        for chunk, record in sorted(self.standing.items()):
            name = self.layer.table(chunk)
            if sizes.get(name) != record["size"]:
                problem = f"has {sizes[name]} bytes, committed were {record['size']}" if name in sizes else "is missing"
                raise IntegrityError(
                    f"{folder.location}: {name} {problem}: `capfilt verify OUT --repair` makes it again"
                )

    @property
    def fingerprint(self) -> str:
        """sha256 over its identity and the chunks that stand, which with the commits tell what it says."""
        return hashlib.sha256("\n".join([self.layer.identity, *sorted(self.standing)]).encode()).hexdigest()


def layer_names(folder: Folder) -> list[str]:
    """Names of the layers of a run, sorted."""
    return [Path(file).stem for file in folder.names(LAYERS, ".toml")]


def layers_of(folder: Folder, subject: Subject | None = None) -> list[Layer]:
    """The layers of a run, by name; those about one subject alone if asked for.

    Raises:
        IntegrityError, ChangedError: see `Layer.read`.
    """
    names = layer_names(folder)
    run = run_identity(Ledger(folder)) if names else ""
    found = (Layer.read(folder, name, run) for name in names)
    return [layer for layer in found if subject in (None, layer.subject)]


def layer_states(ledger: Ledger, records: pa.Table | None = None) -> list[LayerState]:
    """The state of every layer of the run and of its parts, each behind those that it is made from.

    Records are read when they are asked for, and once.

    Args:
        records: what `Ledger.records` gave, to spare reading them again.

    Raises:
        IntegrityError, ChangedError: see `Layer.read`; or a layer is gone that another one needs.
    """
    if not (layers := layers_of(ledger.folder)):
        return []
    chunks = {record["chunk"]: record for record in (ledger.records() if records is None else records).to_pylist()}
    return states_of(layers, chunks)


def states_of(layers: Sequence[Layer], chunks: Records) -> list[LayerState]:
    """`layer_states` of these layers, all of a run, which has these records."""
    named = {layer.name: layer for layer in layers}
    made: dict[str, LayerState] = {}

    def state(layer: Layer) -> LayerState:
        if layer.label not in made:
            bases = tuple(state(base) for base in _bases(layer, named))
            made[layer.label] = LayerState(layer, chunks, bases)
        return made[layer.label]

    for layer in sorted(layers, key=_order):
        state(layer)
    for layer in [layer for layer in layers if layer.subject == "texts"]:
        for captions in [layer for layer in sorted(layers, key=_order) if layer.subject == "captions"]:
            state(Layer(layer.folder, layer.name, layer.facts, captions.name))
    return list(made.values())


def _order(layer: Layer) -> tuple[int, int, str]:
    """Captions by the numbers of their candidates, and before others."""
    return layer.subject != "captions", layer.facts.get("offset", 0), layer.name


def _bases(layer: Layer, named: Mapping[str, Layer]) -> Iterator[Layer]:
    for name in layer.made_from:
        if name not in named:
            raise IntegrityError(
                f"{layer.folder.location}: layer {layer.name} needs layer {name}, which is not there: "
                f"`capfilt annotate OUT --drop {layer.name}` removes it"
            )
        yield named[name]


def check_layers(ledger: Ledger, records: pa.Table | None = None) -> None:
    """`LayerState.check` of every layer of the run; arguments: `layer_states`."""
    for state in layer_states(ledger, records):
        state.check()


def fingerprints(states: Sequence[LayerState]) -> dict[str, str]:
    """`LayerState.fingerprint` of every layer and part, by label."""
    return {state.layer.label: state.fingerprint for state in states}


def is_current(ledger: Ledger, selection: Mapping[str, Any], records: pa.Table | None = None) -> bool:
    """Whether a selection was made from the commits there are, and from layers that say what they said then.

    A judge's layer that came later makes no selection old; captions that came later have no decision.

    Args:
        selection: its .toml.
    """
    if selection.get("commits") != ledger.fingerprint(records):
        return False
    made: Mapping[str, str] = selection.get("layers", {})
    states = layer_states(ledger, records)
    captions = {state.layer.label for state in states if state.layer.subject == "captions"}
    if not (made or captions):
        return True
    return captions <= made.keys() and made.items() <= fingerprints(states).items()

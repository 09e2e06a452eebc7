"""The layers of a run together: which there are, whether they are whole, and whether a selection still holds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from capfilt.core.storage import Folder
from capfilt.ledger.layers import LAYERS, Layer, Subject, by_chunk, run_identity
from capfilt.ledger.ledger import Ledger


def layer_names(folder: Folder) -> list[str]:
    """Names of the layers of a run, sorted."""
    return [Path(file).stem for file in folder.names(LAYERS, ".toml")]


def layers_of(folder: Folder, subject: Subject | None = None) -> list[Layer]:
    """The layers of a run, by name; of texts or of images alone if asked for.

    Raises:
        IntegrityError, ChangedError: see `Layer.read`.
    """
    names = layer_names(folder)
    run = run_identity(Ledger(folder)) if names else ""
    found = (Layer.read(folder, name, run) for name in names)
    return [layer for layer in found if subject in (None, layer.subject)]


def check_layers(ledger: Ledger, records: pa.Table | None = None) -> None:
    """`Layer.check` of every layer of the run.

    Args:
        records: what `Ledger.records` gave, to spare reading them again.
    """
    if layers := layers_of(ledger.folder):
        chunks = by_chunk(ledger.records() if records is None else records)
        for layer in layers:
            layer.check(chunks)


def layer_fingerprints(ledger: Ledger, records: pa.Table | None = None) -> dict[str, str]:
    """`Layer.fingerprint` of every layer of the run, by name."""
    if not (layers := layers_of(ledger.folder)):
        return {}
    chunks = by_chunk(ledger.records() if records is None else records)
    return {layer.name: layer.fingerprint(chunks) for layer in layers}


def is_current(ledger: Ledger, selection: Mapping[str, Any], records: pa.Table | None = None) -> bool:
    """Whether a selection was made from the commits there are, and from layers that say what they said then.

    A layer that came later makes no selection old.

    Args:
        selection: its .toml.
    """
    if selection.get("commits") != ledger.fingerprint(records):
        return False
    made: Mapping[str, str] = selection.get("layers", {})
    return not made or made.items() <= layer_fingerprints(ledger, records).items()

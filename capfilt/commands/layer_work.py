"""Completing the layers of a run: what each lacks, and the models that it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from capfilt.commands.chunk_work import work_through
from capfilt.commands.progress import Listener
from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, IntegrityError
from capfilt.ledger.compatibility import changed_models
from capfilt.ledger.layers import Layer, by_chunk
from capfilt.ledger.layers_of_run import layers_of
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.engine.chunk.chunk_row import PlannedChunk
from capfilt.pipelines.engine.chunk.tasks import Annotate
from capfilt.pipelines.recipes.load import make_recipe
from capfilt.pipelines.stages.stage_models import check_models


@dataclass(frozen=True, slots=True)
class LayerWork:
    """A layer, and the recipe that it is made with."""

    layer: Layer
    recipe: Recipe


def layer_work(ledger: Ledger, overrides: Sequence[str] = (), *, more: bool = False) -> list[LayerWork]:
    """The layers that lack a committed chunk, each with its model checked before any work.

    Args:
        overrides: `--set` values that `stored_recipe` let pass: where the run works now, its layers are made too.
        more: chunks will be committed before the work begins, so that every layer lacks some.

    Raises:
        ModelError: a model is not there any more.
        ChangedError: a model has other weights than those that the layer was made with.
    """
    found = []
    layers = layers_of(ledger.folder)
    records = by_chunk(ledger.records()) if layers else {}
    for layer in layers:
        if not more and not _lacking(layer, records):
            continue
        recipe = make_recipe(layer.facts["recipe"], tuple(overrides), f"{ledger.folder.location}/{layer.place}.toml")
        check_weights(layer, check_models(recipe))
        found.append(LayerWork(layer, recipe))
    return found


def check_weights(layer: Layer, models: dict[str, str]) -> None:
    """Refuse other weights than those of a layer: half of its values would be of another model.

    Raises:
        ChangedError: names the layer.
    """
    if sorted(models.values()) != sorted(layer.facts["models"].values()):
        change = changed_models(layer.facts["models"], models)
        raise ChangedError(
            f"{layer.folder.location}: layer {layer.name}: {change}: give another --name, or --drop {layer.name} first"
        )


def complete(ledger: Ledger, works: Sequence[LayerWork], listener: Listener) -> int:
    """Annotate the chunks that these layers lack; gives how many that were. To be called with the folder locked.

    Raises:
        RunFailed: some chunks failed; all others are done.
    """
    chunks = {chunk.name: chunk for chunk in ledger.read_plan()}
    records = by_chunk(ledger.records()) if works else {}
    count = 0
    for work in works:
        layer = work.layer
        for place in (layer.place, f"{layer.place}/commits"):
            ledger.folder.sweep(place)
        lacking = _lacking(layer, records)
        planned = [PlannedChunk(chunks[name], layer.spec_digest(records[name])) for name in lacking]
        if planned:
            work_through(ledger.folder, planned, work.recipe, Annotate(layer.name), listener)
        if left := _lacking(layer, records):
            raise IntegrityError(f"{ledger.folder.location}: layer {layer.name} was made, but lacks chunk {left[0]}")
        count += len(lacking)
    return count


def _lacking(layer: Layer, records: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return sorted(records.keys() - layer.standing(records).keys())

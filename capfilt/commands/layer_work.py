"""Completing the layers of a run: what each lacks, and the models that it takes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from capfilt.commands.chunk_work import work_through
from capfilt.commands.progress import Listener
from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, IntegrityError
from capfilt.ledger.compatibility import changed_models
from capfilt.ledger.layers import Layer
from capfilt.ledger.layers_of_run import LayerState, layer_states
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
    lacking = {state.layer.name: state.layer for state in layer_states(ledger) if more or state.lacking}
    found = []
    for name, layer in lacking.items():
        recipe = make_recipe(layer.facts["recipe"], tuple(overrides), f"{ledger.folder.location}/layers/{name}.toml")
        check_weights(layer, check_models(recipe))
        found.append(LayerWork(layer, recipe))
    return found


def check_weights(layer: Layer, models: dict[str, str]) -> None:
    """Refuse other weights than those of a layer: half of its values would be of another model.

    Raises:
        ChangedError: names the layer.
    """
    # The weights alone: a directory that was moved has another name, and is the same model.
    if sorted(models.values()) != sorted(layer.facts["models"].values()):
        change = changed_models(layer.facts["models"], models)
        raise ChangedError(
            f"{layer.folder.location}: layer {layer.name}: {change}: give another --name, or --drop {layer.name} first"
        )


def complete(ledger: Ledger, works: Sequence[LayerWork], listener: Listener) -> int:
    """Annotate the chunks that these layers lack, new captions first, for judges score them too.

    To be called with the folder locked; gives how many chunks of a layer were annotated.

    Raises:
        RunFailed: some chunks failed; all others are done.
    """
    recipes = {work.layer.name: work.recipe for work in works}
    labels = [state.layer.label for state in _states(ledger, recipes)]
    return sum(_complete_part(ledger, label, recipes, listener) for label in labels)


def _states(ledger: Ledger, recipes: Mapping[str, Recipe]) -> list[LayerState]:
    return [state for state in layer_states(ledger) if state.layer.name in recipes] if recipes else []


def _complete_part(ledger: Ledger, label: str, recipes: Mapping[str, Recipe], listener: Listener) -> int:
    """A layer, or what it says of another layer's texts; its state is read now, for others were made before it."""
    state = _state(ledger, label, recipes)
    layer, lacking = state.layer, state.lacking
    # Drafts of a killed process; files without a record are written over.
    for place in (layer.place, f"{layer.place}/commits"):
        ledger.folder.sweep(place)
    if lacking:
        _check_bases(state)
        chunks = {chunk.name: chunk for chunk in ledger.read_plan()}
        planned = [PlannedChunk(chunks[name], state.spec_digest(name)) for name in lacking]
        models: dict[str, str] = layer.facts["models"]
        work_through(ledger.folder, planned, recipes[layer.name], models, Annotate(label), listener)
        if left := _state(ledger, label, recipes).lacking:
            raise IntegrityError(f"{ledger.folder.location}: layer {label} was made, but lacks chunk {left[0]}")
    return len(lacking)


def _state(ledger: Ledger, label: str, recipes: Mapping[str, Recipe]) -> LayerState:
    return next(state for state in _states(ledger, recipes) if state.layer.label == label)


def _check_bases(state: LayerState) -> None:
    """Make sure that all is there that a layer is made from.

    Raises:
        ChangedError: names the layer that lacks a chunk.
    """
    for base in state.bases:
        if lacking := base.lacking:
            raise ChangedError(
                f"{state.layer.folder.location}: layer {state.layer.name} is made from layer {base.layer.name}, which "
                f"lacks {len(lacking)} chunks: `capfilt annotate OUT` completes all layers"
            )

"""The recipe that a run was made with, to work on the run once more."""

from collections.abc import Sequence
from typing import Any

from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, ConfigError
from capfilt.ledger.compatibility import changed_models, changed_recipe
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.recipes.load import make_recipe
from capfilt.pipelines.stages.stage_models import check_models


def stored_recipe(ledger: Ledger, overrides: Sequence[str], *, with_models: bool = True) -> Recipe:
    """The recipe in run.toml with `--set` values for [fetch], and for what of [engine] changes no byte.

    Args:
        with_models: its captioners and judges will be used, so their weights must be those of the run.

    Raises:
        ConfigError: an override changes what the run is made of.
        ChangedError: other weights: new captions would differ from those of their neighbors.
    """
    stored: dict[str, Any] = ledger.run["recipe"]
    recipe = make_recipe(stored, tuple(overrides), f"{ledger.folder.location}/run.toml")
    new = recipe.model_dump(mode="json")
    if change := changed_recipe({**stored, "fetch": {}}, {**new, "fetch": {}}):
        raise ConfigError(f"--set: only settings of [fetch] can change here; the run {change}")
    if with_models and (change := changed_models(ledger.run["models"], check_models(recipe))):
        raise ChangedError(f"{ledger.folder.location}: {change}: new captions would differ from those of the run")
    return recipe

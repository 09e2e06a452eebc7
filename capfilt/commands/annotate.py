"""Add a judge to a finished run: its scores become a layer, and nothing that is there is written again."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

import pyarrow as pa

from capfilt.commands.layer_work import LayerWork, check_weights, complete, layer_work
from capfilt.commands.progress import Listener, RunProgress
from capfilt.commands.run import versions
from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, ConfigError
from capfilt.ledger.compatibility import changed_recipe
from capfilt.ledger.joined import captions_schema
from capfilt.ledger.layers import Layer, new_layer
from capfilt.ledger.layers_of_run import check_layers, layer_names
from capfilt.ledger.ledger import Ledger
from capfilt.models.registry import registry
from capfilt.pipelines.forget.forget import finish_forgetting
from capfilt.pipelines.recipes.load import make_recipe, merge
from capfilt.pipelines.selection.select import check_name
from capfilt.pipelines.stages.stage_models import check_models, prove_models

SETTABLE: Final = ("engine.", "score.token")
"""What `--set` may change: where the judge runs and how it reads."""


@dataclass(frozen=True, slots=True)
class AnnotateResult:
    """What came of it."""

    layers: tuple[str, ...]  # that are complete now
    columns: tuple[str, ...]  # of them
    chunks: int  # annotated by this call; 0 = there was nothing to do
    seconds: float


def annotate(
    out: str,
    judges: Sequence[str] = (),
    *,
    name: str = "",
    overrides: Sequence[str] = (),
    listener: Listener = lambda _: None,
) -> AnnotateResult:
    """Let judges score every text of the run at `out`, from the stored images; or resume where that was interrupted.

    Args:
        judges: names as in `score.judges`; each becomes a layer. None = complete the layers that there are.
        name: of the layer, with one judge; "" = its tag, or else made of its name.
        overrides: `--set` values of `SETTABLE`.

    Raises:
        UserError: no run there, a column that is there already, changed weights or settings, or a busy `out`.
        RunFailed: some chunks failed; the same call resumes.
    """
    began = time.perf_counter()
    ledger = Ledger.at(out)
    if (name or overrides) and not judges:
        raise ConfigError("--name and --set are for a --judge")
    if name and len(judges) > 1:
        raise ConfigError("--name names one layer, and there are several judges")
    check_name(name)
    _ = ledger.run  # raises where there is none
    with ledger.lock():  # first: another call may be adding the same layer or column
        finish_forgetting(ledger)
        ledger.balance()
        check_layers(ledger)
        works = [_work(ledger, judge, name or layer_name(judge), overrides) for judge in judges]
        check_new(ledger, [work.layer for work in works])
        works = works or layer_work(ledger)
        for work in works:
            if work.layer.name not in layer_names(ledger.folder):
                work.layer.write()
        chunks = complete(ledger, works, listener)
    listener(RunProgress("done"))
    names = tuple(work.layer.name for work in works)
    columns = tuple(column for work in works for column in work.layer.columns.names)
    return AnnotateResult(names, columns, chunks, time.perf_counter() - began)


def drop(out: str, name: str) -> None:
    """Remove a layer of the run at `out`.

    Raises:
        ConfigError: there is none of that name.
        BusyError: another process writes the run.
    """
    ledger = Ledger.at(out)
    _ = ledger.run  # raises where there is none
    known = layer_names(ledger.folder)
    if name not in known:
        raise ConfigError(f"--drop {name!r}: no such layer; there are: {', '.join(known) or 'none'}")
    with ledger.lock():
        Layer(ledger.folder, name, {}).drop()


def layer_name(judge: str) -> str:
    """The name of a judge's layer: its tag, or else the last part of its name."""
    tag, plain = registry.untagged(judge)
    last = PurePosixPath(plain.replace(":", "/")).name
    return tag or re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-_")[:64] or "judge"


def check_new(ledger: Ledger, layers: Sequence[Layer]) -> None:
    """Make sure that layers have names of their own, and that new ones give no column that is there already.

    Raises:
        ConfigError: names the layer, and the column.
    """
    known = layer_names(ledger.folder)
    taken = {column.lower() for column in captions_schema(ledger).names}  # SQL does not tell upper case from lower
    for number, layer in enumerate(layers):
        judge = layer.facts["annotator"]
        if layer.name in [other.name for other in layers[:number]]:
            raise ConfigError(f"--judge {judge}: another --judge has the layer {layer.name} already: give it a tag")
        for column in layer.columns.names if layer.name not in known else ():
            if column.lower() in taken:
                plain = registry.untagged(judge)[1]
                raise ConfigError(
                    f"--judge {judge}: the run has a column {column!r} already; "
                    f"a tag tells them apart: --judge TAG={plain} gives {column}_TAG"
                )
            taken.add(column.lower())


def _work(ledger: Ledger, judge: str, name: str, overrides: Sequence[str]) -> LayerWork:
    """The layer of a judge, which may have been begun already; everything is checked, nothing written."""
    there = Layer.read(ledger.folder, name) if name in layer_names(ledger.folder) else None
    recipe = _recipe(there.facts["recipe"] if there else ledger.run["recipe"], judge, overrides)
    models = check_models(recipe)
    columns = pa.schema([(column, pa.float32()) for column in registry.columns(judge)])
    made = new_layer(
        ledger,
        name,
        subject="texts",
        annotator=judge,
        columns=columns,
        models=models,
        versions=versions(),
        recipe=recipe,
    )
    if there is None:
        prove_models(recipe)
        return LayerWork(made, recipe)
    check_weights(there, models)
    # Setting by setting and not by identity: a layer may be older than a setting, whose default it was made with.
    before = {**there.facts["recipe"], "score": there.facts["recipe"]["score"] | {"judges": [judge]}}
    change = changed_recipe(before, made.facts["recipe"])
    if change or made.schema != there.schema:
        change = change or f"has the columns {', '.join(there.columns.names)}, now {', '.join(columns.names)}"
        raise ChangedError(f"{ledger.folder.location}: layer {name}: {change}: give another --name, or --drop {name}")
    return LayerWork(there, recipe)


def _recipe(base: dict[str, Any], judge: str, overrides: Sequence[str]) -> Recipe:
    for override in overrides:
        if not override.strip().startswith(SETTABLE):
            raise ConfigError(f"--set {override!r}: only settings of [engine] and score.token can change here")
    # Stored images passed the tests of the run, and may be smaller than what they were made of.
    stored = {"output": {"pixels": "original"}, "decode": {"min_side": 1, "exclude_eval": []}}
    settings = merge(base, stored | {"caption": {"n": 0}, "score": {"judges": [judge]}})
    return make_recipe(settings, tuple(overrides), "annotate")

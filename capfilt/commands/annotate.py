"""Add a judge, an image judge or a captioner to a finished run: what it says becomes a layer.

No table of the run is written again. The captions of a captioner are judged by the judges of the run, and by those of
its layers; then the current selection is made again, for they have no decision yet.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from capfilt.commands.annotators.asked import Annotator
from capfilt.commands.annotators.checks import check_captioner, check_new, check_same
from capfilt.commands.layer_work import LayerWork, check_weights, complete, layer_work
from capfilt.commands.progress import Listener, RunProgress
from capfilt.commands.run import versions
from capfilt.core.config import Recipe
from capfilt.core.errors import ConfigError
from capfilt.ledger.joined import captions_schema, images_schema
from capfilt.ledger.layers import TABLES, Layer, new_layer
from capfilt.ledger.layers_of_run import check_layers, layer_names, layers_of
from capfilt.ledger.ledger import Ledger
from capfilt.pipelines.forget.forget import finish_forgetting
from capfilt.pipelines.layers.stored_rows import ask_where, askable
from capfilt.pipelines.selection.select import check_name, reselect
from capfilt.pipelines.stages.stage_models import check_models, prove_models


@dataclass(frozen=True, slots=True)
class AnnotateResult:
    """What came of it."""

    layers: tuple[str, ...]  # that are complete now
    columns: tuple[str, ...]  # of them
    tables: tuple[str, ...]  # captions or images, of each column
    chunks: int  # annotated by this call; 0 = there was nothing to do
    seconds: float


def annotate(
    out: str,
    judges: Sequence[str] = (),
    captioner: str = "",
    *,
    image_judges: Sequence[str] = (),
    name: str = "",
    where: str = "",
    overrides: Sequence[str] = (),
    listener: Listener = lambda _: None,
) -> AnnotateResult:
    """Let models say more of the run at `out`, from the stored images; or resume it.

    Args:
        judges: names as in `score.judges`; each becomes a layer. No model at all = complete the layers there are.
        captioner: a name as in `caption.captioner`; its captions become a layer, numbered behind those of the run.
        image_judges: names as in `score.image_judges`; each becomes a layer.
        name: of the layer, with one model; "" = its tag, or else made of its name.
        where: SQL over the columns of images, perhaps with a subquery of captions; "" = all images.
        overrides: `--set` values of `Role.settable`.

    Raises:
        UserError: no run there, a column that is there already, changed weights or settings, or a busy `out`.
        RunFailed: some chunks failed; the same call resumes.
    """
    began = time.perf_counter()
    ledger = Ledger.at(out)
    _check_options([*judges, *image_judges], captioner, name, bool(where or overrides))
    _ = ledger.run  # raises where there is none
    with ledger.lock():  # first: another call may be adding the same layer or column
        finish_forgetting(ledger)
        ledger.balance()
        check_layers(ledger)
        asked = [Annotator.of("judge", judge, name, where) for judge in judges]
        asked += [Annotator.of("image judge", judge, name, where) for judge in image_judges]
        asked += [Annotator.of("captioner", captioner, name, where)] if captioner else []
        works = [_work(ledger, one, overrides) for one in asked]
        check_new(ledger, [work.layer for work in works])
        for work in works:
            if work.layer.name not in layer_names(ledger.folder):
                work.layer.write()
        if captioner or not works:  # new captions are for all judges, and whoever completes, completes all
            names = {work.layer.name for work in works}
            works += [work for work in layer_work(ledger, more=bool(works)) if work.layer.name not in names]
        chunks = complete(ledger, works, listener)
        _reselect(ledger, works, chunks, listener)
    listener(RunProgress("done"))
    return _result([work.layer for work in works][: len(asked) or None], chunks, time.perf_counter() - began)


def _result(layers: Sequence[Layer], chunks: int, seconds: float) -> AnnotateResult:
    columns = [(column, TABLES.get(layer.subject, "captions")) for layer in layers for column in layer.columns.names]
    names, tables = tuple(name for name, _ in columns), tuple(table for _, table in columns)
    return AnnotateResult(tuple(layer.name for layer in layers), names, tables, chunks, seconds)


def _check_options(judges: Sequence[str], captioner: str, name: str, has_more: bool) -> None:
    if judges and captioner:
        raise ConfigError("--captioner and a judge are two calls, in either order: all judges score the captions")
    if (name or has_more) and not (judges or captioner):
        raise ConfigError("--name, --where and --set are for a --judge, --image-judge or --captioner")
    if name and len(judges) > 1:
        raise ConfigError("--name names one layer, and there are several judges")
    check_name(name)


def _reselect(ledger: Ledger, works: Sequence[LayerWork], chunks: int, listener: Listener) -> None:
    """Decide over new captions; a judge's layer changes no decision before somebody asks for its column."""
    if chunks and any(work.layer.subject == "captions" for work in works) and not ledger.todo():
        listener(RunProgress("select"))
        reselect(ledger, Recipe.model_validate(ledger.run["recipe"]))


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
        for other in known:  # one that is damaged can still be removed
            if other != name and name in Layer.read(ledger.folder, other).needs:
                raise ConfigError(f"--drop {name}: layer {other} needs it: drop that one first")
        Layer(ledger.folder, name, {}).drop()


def _work(ledger: Ledger, asked: Annotator, overrides: Sequence[str]) -> LayerWork:
    """The layer of a model, which may have been begun already; everything is checked, nothing written."""
    there = Layer.read(ledger.folder, asked.name) if asked.name in layer_names(ledger.folder) else None
    subject = asked.role.subject
    if there and there.subject != subject:
        raise ConfigError(f"--name {asked.name}: the run has a layer of that name about {there.subject}")
    recipe = asked.recipe(there.facts["recipe"] if there else ledger.run["recipe"], overrides)
    models = check_models(recipe)
    made = new_layer(
        ledger,
        asked.name,
        subject=subject,
        annotator=asked.model,
        columns=asked.columns(ledger, recipe),
        models=models,
        versions=versions(),
        recipe=recipe,
        choices=_choices(ledger, asked, there),
    )
    if there is None:
        if subject == "captions":
            check_captioner(ledger, recipe, models)
        prove_models(recipe)
        return LayerWork(made, recipe)
    check_weights(there, models)
    check_same(there, made, asked)
    return LayerWork(there, recipe)


def _choices(ledger: Ledger, asked: Annotator, there: Layer | None) -> dict[str, Any]:
    """The facts of a layer that not every layer has."""
    found: dict[str, Any] = {}
    layers = [layer for layer in layers_of(ledger.folder) if layer.name != asked.name]
    if asked.where:
        seen = {"images": askable(images_schema(ledger)), "captions": captions_schema(ledger)}
        ask_where({name: columns.empty_table() for name, columns in seen.items()}, asked.where)  # raises if it is none
        words = {word.lower() for word in re.findall(r"\w+", asked.where)}
        columns = {layer.name: layer.columns.names for layer in layers if layer.subject != "captions"}
        found["where"] = asked.where
        found["needs"] = [name for name, own in columns.items() if words & {column.lower() for column in own}]
    if asked.role.subject == "captions":
        behind = [layer for layer in layers if layer.subject == "captions"]
        ends = (layer.facts["offset"] + _captions_an_image(layer) for layer in behind)
        found["offset"] = there.facts["offset"] if there else max(ends, default=0)
    return found


def _captions_an_image(layer: Layer) -> int:
    return int(layer.facts["recipe"]["caption"]["n"])

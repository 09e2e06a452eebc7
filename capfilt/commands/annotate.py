"""Add a judge or a captioner to a finished run: what it says becomes a layer, and no table of the run is written again.

The captions of a captioner are judged by the judges of the run, and by those of its layers; then the current selection
is made again, for they have no decision yet.
"""

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Literal

import pyarrow as pa

from capfilt.commands.layer_work import LayerWork, check_weights, complete, layer_work
from capfilt.commands.progress import Listener, RunProgress
from capfilt.commands.run import versions
from capfilt.core.config import Recipe
from capfilt.core.errors import ChangedError, ConfigError
from capfilt.ledger.compatibility import changed_recipe
from capfilt.ledger.joined import captions_schema, images_schema, run_captions_schema
from capfilt.ledger.layers import KEYS, Layer, new_layer
from capfilt.ledger.layers_of_run import check_layers, layer_names, layers_of
from capfilt.ledger.ledger import Ledger
from capfilt.models.registry import registry
from capfilt.pipelines.forget.forget import finish_forgetting
from capfilt.pipelines.layers.stored_rows import ask_where, askable
from capfilt.pipelines.recipes.load import make_recipe, merge
from capfilt.pipelines.selection.select import check_name, reselect
from capfilt.pipelines.stages.stage_models import check_models, prove_models, score_columns

Role = Literal["judge", "captioner"]
"""What somebody is asked for."""

SETTABLE: Final[Mapping[Role, tuple[str, ...]]] = {
    "judge": ("engine.", "score.token", "score.sentences"),
    "captioner": ("engine.", "caption.", "endpoint."),
}
"""What `--set` may change: where the model runs, and how it reads or writes."""


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
    captioner: str = "",
    *,
    name: str = "",
    where: str = "",
    overrides: Sequence[str] = (),
    listener: Listener = lambda _: None,
) -> AnnotateResult:
    """Let judges score every text of the run at `out`, or a captioner write more, from the stored images; or resume it.

    Args:
        judges: names as in `score.judges`; each becomes a layer. None and no captioner = complete the layers there are.
        captioner: a name as in `caption.captioner`; its captions become a layer, numbered behind those of the run.
        name: of the layer, with one judge or captioner; "" = its tag, or else made of its name.
        where: SQL over the columns of images, perhaps with a subquery of captions; "" = all images.
        overrides: `--set` values of `SETTABLE`.

    Raises:
        UserError: no run there, a column that is there already, changed weights or settings, or a busy `out`.
        RunFailed: some chunks failed; the same call resumes.
    """
    began = time.perf_counter()
    ledger = Ledger.at(out)
    _check_options(judges, captioner, name, bool(where or overrides))
    _ = ledger.run  # raises where there is none
    with ledger.lock():  # first: another call may be adding the same layer or column
        finish_forgetting(ledger)
        ledger.balance()
        check_layers(ledger)
        asked = [_Asked("judge", judge, name or layer_name(judge), where) for judge in judges]
        asked += [_Asked("captioner", captioner, name or layer_name(captioner), where)] if captioner else []
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
    layers = [work.layer for work in works][: len(asked) or None]
    columns = tuple(column for layer in layers for column in layer.columns.names)
    return AnnotateResult(tuple(layer.name for layer in layers), columns, chunks, time.perf_counter() - began)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A model that is to annotate, and as what."""

    role: Role
    model: str
    name: str  # of the layer
    where: str


def _check_options(judges: Sequence[str], captioner: str, name: str, has_more: bool) -> None:
    if judges and captioner:
        raise ConfigError("--judge and --captioner are two calls, in either order: all judges score the captions")
    if (name or has_more) and not (judges or captioner):
        raise ConfigError("--name, --where and --set are for a --judge or --captioner")
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


def layer_name(model: str) -> str:
    """The name of a model's layer: its tag, or else the last part of its name."""
    tag, plain = registry.untagged(model)
    last = PurePosixPath(plain.replace(":", "/")).name
    return tag or re.sub(r"[^A-Za-z0-9_-]+", "-", last).strip("-_")[:64] or "layer"


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
        new = layer.name not in known and layer.subject != "captions"  # whose columns are those of the run
        for column in layer.columns.names if new else ():
            if column.lower() in taken:
                plain = registry.untagged(judge)[1]
                raise ConfigError(
                    f"--judge {judge}: the run has a column {column!r} already; "
                    f"a tag tells them apart: --judge TAG={plain} gives {column}_TAG"
                )
            taken.add(column.lower())


def _work(ledger: Ledger, asked: _Asked, overrides: Sequence[str]) -> LayerWork:
    """The layer of a model, which may have been begun already; everything is checked, nothing written."""
    there = Layer.read(ledger.folder, asked.name) if asked.name in layer_names(ledger.folder) else None
    subject: Literal["texts", "captions"] = "texts" if asked.role == "judge" else "captions"
    if there and there.subject != subject:
        raise ConfigError(f"--name {asked.name}: the run has a layer of that name about {there.subject}")
    recipe = _recipe(there.facts["recipe"] if there else ledger.run["recipe"], asked, overrides)
    models = check_models(recipe)
    made = new_layer(
        ledger,
        asked.name,
        subject=subject,
        annotator=asked.model,
        columns=_columns(ledger, asked, recipe),
        models=models,
        versions=versions(),
        recipe=recipe,
        choices=_choices(ledger, asked, there),
    )
    if there is None:
        if asked.role == "captioner":
            _check_captioner(ledger, recipe, models)
        prove_models(recipe)
        return LayerWork(made, recipe)
    check_weights(there, models)
    _check_same(there, made, asked)
    return LayerWork(there, recipe)


def _columns(ledger: Ledger, asked: _Asked, recipe: Recipe) -> pa.Schema:
    if asked.role == "judge":
        return pa.schema([(column, pa.float32()) for column in score_columns(recipe)])
    return pa.schema([field for field in run_captions_schema(ledger) if field.name not in KEYS["captions"].names])


def _check_same(there: Layer, made: Layer, asked: _Asked) -> None:
    """Refuse other settings than those that a layer was begun with."""
    # Setting by setting and not by identity: a layer may be older than a setting, whose default it was made with.
    section, key = ("score", "judges") if asked.role == "judge" else ("caption", "captioner")
    stored, now = there.facts["recipe"], made.facts["recipe"]
    change = changed_recipe({**stored, section: stored[section] | {key: now[section][key]}}, now)
    if not change and made.schema != there.schema:
        names = [", ".join(one.columns.names) for one in (there, made)]
        change = f"has the columns {names[0]}, now {names[1]}"
    if not change and there.where != made.where:
        change = f"was made with --where {there.where!r}, now {made.where!r}"
    if change:
        where = f"{there.folder.location}: layer {there.name}"
        raise ChangedError(f"{where}: {change}: give another --name, or --drop {there.name}")


def _choices(ledger: Ledger, asked: _Asked, there: Layer | None) -> dict[str, Any]:
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
    if asked.role == "captioner":
        behind = [layer for layer in layers if layer.subject == "captions"]
        ends = (layer.facts["offset"] + _captions_an_image(layer) for layer in behind)
        found["offset"] = there.facts["offset"] if there else max(ends, default=0)
    return found


def _captions_an_image(layer: Layer) -> int:
    return int(layer.facts["recipe"]["caption"]["n"])


def _check_captioner(ledger: Ledger, recipe: Recipe, models: Mapping[str, str]) -> None:
    """Refuse a captioner that would write nothing, or what is there; and other judges than the run's.

    Raises:
        ConfigError: names the setting.
        ChangedError: a judge of the run has other weights now.
    """
    if not recipe.caption.n:
        raise ConfigError("caption.n = 0: the captioner would write nothing: --set caption.n=1")
    for name, digest in models.items():
        if name.startswith("filter ") and ledger.run["models"].get(name) != digest:
            raise ChangedError(f"{ledger.folder.location}: {name}: its weights are not those that scored the run")
    made = [(ledger.run["models"], ledger.run["recipe"])]
    made += [(one.facts["models"], one.facts["recipe"]) for one in layers_of(ledger.folder, "captions")]
    writer = next(digest for name, digest in models.items() if name.startswith("captioner "))
    new = recipe.model_dump(mode="json")["caption"]
    for known, stored in made:
        digests = [digest for name, digest in known.items() if name.startswith("captioner ")]
        same = all(stored["caption"].get(key) == new[key] for key in new if key not in ("captioner", "n"))
        if stored["caption"]["n"] and writer in digests and same:
            raise ConfigError(
                "--captioner: this model has captioned the run with these settings, and would write the same: "
                "--set caption.seed or another setting of [caption]"
            )


def _recipe(base: dict[str, Any], asked: _Asked, overrides: Sequence[str]) -> Recipe:
    settable = SETTABLE[asked.role]
    for override in overrides:
        if not override.strip().startswith(settable):
            scoring = "[engine], score.token and score.sentences"
            known = scoring if asked.role == "judge" else "[engine], [caption] and [endpoint]"
            raise ConfigError(f"--set {override!r}: only settings of {known} can change here")
    # Stored images passed the tests of the run, and may be smaller than what they were made of.
    stored = {"output": {"pixels": "original"}, "decode": {"min_side": 1, "exclude_eval": []}}
    own: dict[str, Any] = {"caption": {"n": 0}, "score": {"judges": [asked.model]}}
    if asked.role == "captioner":
        own = {"caption": {"captioner": asked.model}}
    return make_recipe(merge(base, stored | own), tuple(overrides), "annotate")

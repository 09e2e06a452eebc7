"""`capfilt evaluate`: measure a captioner and a judge on images with human captions."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from capfilt.cli.terminal.options import settings_option
from capfilt.core.serialization import setting

if TYPE_CHECKING:
    from capfilt.core.config import Recipe
    from capfilt.pipelines.evaluation.paired import PerQuery


def evaluate(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA",
            help="Parquet with columns image, captions and optionally wrong; or questions; or label.",
            show_default=False,
        ),
    ],
    captioner: Annotated[
        str | None,
        typer.Option(metavar="NAME|DIR|URL", help="Captioner to evaluate. Default: none.", show_default=False),
    ] = None,
    judge: Annotated[
        str | None, typer.Option(metavar="NAME|DIR", help="Judge to evaluate. Default: none.", show_default=False)
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|DIR|URL",
            help="Another judge, or captioner where there is no --judge: paired differences with 95 % intervals. "
            "Default: none.",
            show_default=False,
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="The judge classifies images by this text with each class name of the column label in place of {}, "
            'e.g. "a photo of a {}". Repeatable. Default: none.',
            show_default=False,
        ),
    ] = None,
    vqa: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Checkpoint of `capfilt train vqa`; it answers the column questions. Default: none.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.json", help="Also write all results to this file. Default: none.", show_default=False
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Use only N images. Default: all.", show_default=False)
    ] = None,
    candidates: Annotated[
        int, typer.Option(min=1, metavar="K", help="Retrieval: nearest K by ITC that ITM re-ranks (BLIP: 128, 256).")
    ] = 32,
    settings: Annotated[
        list[str] | None, settings_option("Change a setting of the recipe, e.g. caption.beams=3, as in the paper")
    ] = None,
) -> None:
    """Evaluate a captioner, a judge or a VQA model."""
    from capfilt.core.errors import ConfigError

    if not captioner and not judge and not vqa:
        raise ConfigError("evaluate: give --captioner, --judge, --vqa or several of them")
    if classes and (not judge or captioner):
        raise ConfigError("evaluate: --classes needs --judge, and no --captioner")
    if against and not (judge or captioner):
        raise ConfigError("evaluate: --against needs --judge or --captioner, which it is compared with")
    if against and judge and captioner:
        raise ConfigError("evaluate: --against compares judges or captioners: give --judge or --captioner, not both")
    told: dict[str, Any] = {"captioner": captioner or "", "judge": judge or "", "vqa": str(vqa or "")}
    if captioner or judge:
        measure = partial(_measured, data, tuple(settings or ()), limit, candidates, classes or [])
        found, queries = measure(captioner, judge, say=True)
        told |= found
        if against:
            others = measure(against if captioner else None, against if judge else None, say=False)[1]
            told |= _compared(queries, others, against)
    if vqa:
        told["answers"] = _answered(data, vqa, limit)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _measured(
    data: list[str],
    settings: tuple[str, ...],
    limit: int | None,
    candidates: int,
    classes: list[str],
    captioner: str | None,
    judge: str | None,
    *,
    say: bool,
) -> "tuple[dict[str, Any], PerQuery]":
    """What was measured, and what it is the mean of."""
    from capfilt.cli.training import evaluate_tables
    from capfilt.pipelines.evaluation.evaluate import evaluate as measure

    recipe = _recipe(settings, captioner, judge)
    if classes:
        return _classified(data, recipe, classes, limit, say)
    measured = measure(data, recipe, limit, candidates)
    if say:
        evaluate_tables.say_evaluation(measured)
    results = {name: value for name, value in asdict(measured).items() if name != "queries"}
    return {"beams": recipe.caption.beams, "candidates": candidates, **results}, measured.queries


def _recipe(settings: tuple[str, ...], captioner: str | None, judge: str | None) -> "Recipe":
    from capfilt.pipelines.recipes.load import load_recipe

    chosen = [setting("score.judges", [judge] if judge else []), f"caption.n={int(bool(captioner))}"]
    named = [setting("caption.captioner", captioner)] if captioner else []
    return load_recipe("blip", (*settings, *chosen, *named))


def _classified(
    data: list[str], recipe: "Recipe", texts: list[str], limit: int | None, say: bool
) -> "tuple[dict[str, Any], PerQuery]":
    from capfilt.cli.training import evaluate_tables
    from capfilt.pipelines.evaluation.zero_shot import classify

    found = classify(data, recipe, texts, limit)
    if say:
        evaluate_tables.say_classes(found)
    accuracies = {"top_1": found.accuracy(1), "top_5": found.accuracy(5), "class_mean": found.class_mean}
    told = {"texts": texts, "classes": list(found.classes), "pictures": len(found.ranks), "left_out": found.left_out}
    return {"zero_shot": told | accuracies}, found.queries


def _compared(ours: "PerQuery", theirs: "PerQuery", against: str) -> dict[str, Any]:
    from capfilt.cli.training import evaluate_tables
    from capfilt.pipelines.evaluation.evaluate import AT
    from capfilt.pipelines.evaluation.paired import differences

    found = differences(ours, theirs, AT)
    evaluate_tables.say_differences(found, against)
    return {"against": against, "differences": {name: asdict(one) for name, one in found.items()}}


def _answered(data: list[str], vqa: Path, limit: int | None) -> dict[str, Any]:
    from capfilt.cli.training import evaluate_tables
    from capfilt.pipelines.evaluation.vqa import evaluate_vqa

    answered = evaluate_vqa(data, vqa, limit)
    evaluate_tables.say_answers(answered)
    return asdict(answered)

"""`capfilt evaluate`: measure a captioner and a judge on images with human captions."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from capfilt.cli.terminal.options import settings_option
from capfilt.core.formatting import percent
from capfilt.core.serialization import setting

if TYPE_CHECKING:
    from capfilt.core.config import Recipe
    from capfilt.pipelines.evaluation.evaluate import Evaluation
    from capfilt.pipelines.evaluation.paired import Difference

CAPTIONS = {"bleu_4": "BLEU-4", "cider": "CIDEr"}


def evaluate(
    data: Annotated[
        list[str],
        typer.Argument(
            metavar="DATA",
            help="Parquet with columns image, captions and optionally wrong; or questions.",
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
            metavar="NAME|DIR",
            help="Another judge to compare --judge with: paired differences of R@k with 95 % intervals. Default: none.",
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
    if against and not judge:
        raise ConfigError("evaluate: --against needs --judge, which it is compared with")
    told: dict[str, Any] = {"captioner": captioner or "", "judge": judge or "", "vqa": str(vqa or "")}
    if captioner or judge:
        measure = partial(_measured, data, tuple(settings or ()), limit, candidates)
        recipe, measured = measure(captioner, judge)
        results = {name: value for name, value in asdict(measured).items() if name not in ("ranks", "owner")}
        told |= {"beams": recipe.caption.beams, "candidates": candidates, **results}
        _say(measured)
        if against:
            told |= _compared(measured, measure(None, against)[1], against)
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
    captioner: str | None,
    judge: str | None,
) -> "tuple[Recipe, Evaluation]":
    from capfilt.pipelines.evaluation.evaluate import evaluate as measure
    from capfilt.pipelines.recipes.load import load_recipe

    chosen = [setting("score.judges", [judge] if judge else []), f"caption.n={int(bool(captioner))}"]
    named = [setting("caption.captioner", captioner)] if captioner else []
    recipe = load_recipe("blip", (*settings, *chosen, *named))
    return recipe, measure(data, recipe, limit, candidates)


def _compared(measured: "Evaluation", other: "Evaluation", against: str) -> dict[str, Any]:
    from capfilt.pipelines.evaluation.evaluate import AT
    from capfilt.pipelines.evaluation.paired import recall_differences

    found = recall_differences(measured.ranks, other.ranks, measured.owner, AT)
    _say_differences(found, against)
    return {"against": against, "differences": {name: asdict(one) for name, one in found.items()}}


def _answered(data: list[str], vqa: Path, limit: int | None) -> dict[str, Any]:
    from capfilt.cli.terminal import console
    from capfilt.pipelines.evaluation.vqa import evaluate_vqa

    answered = evaluate_vqa(data, vqa, limit)
    rows = [(kind, percent(value)) for kind, value in (("all", answered.accuracy), *answered.by_kind.items())]
    console.table((f"{answered.questions} questions", "VQA accuracy"), rows)
    return asdict(answered)


def _say(measured: "Evaluation") -> None:
    from capfilt.cli.terminal import console

    console.say(f"{measured.pictures} images, {measured.texts} human captions, {measured.wrong} wrong texts")
    for reason, count in sorted(measured.left_out.items()):
        console.say(f"skipped: {count} images, {reason}")
    _tables(measured)
    for note in measured.notes:
        console.say(f"note: {note}")


def _say_differences(found: "dict[str, Difference]", against: str) -> None:
    from capfilt.cli.terminal import console

    console.say(f"difference from {against}, in percentage points:")
    rows = [
        (
            name.upper().replace("_", " R@"),
            f"{100 * one.mean:+.1f}",
            f"{100 * one.low:+.1f} to {100 * one.high:+.1f}",
        )
        for name, one in found.items()
    ]
    console.table(("difference", "mean", "95 % interval"), rows)


def _tables(measured: "Evaluation") -> None:
    from capfilt.cli.terminal import console

    if measured.captions:
        likeliest = [(CAPTIONS[name], value) for name, value in measured.captions.items()]
        console.table(("most likely captions", ""), likeliest)
        both = [("sampled", measured.drawn), ("human", measured.human)]
        names = ("distinct_1", "distinct_2", "vocabulary", "words", "different")
        heads = ("captions", "distinct-1", "distinct-2", "vocabulary", "words each", "different")
        console.table(heads, [(who, *(told[name] for name in names)) for who, told in both])
    if measured.auc:
        console.table(("right against wrong texts", "AUC"), list(measured.auc.items()))
    if measured.retrieval:
        sides = (("TR, texts of an image", "tr"), ("IR, the image of a text", "ir"))
        rows = [(name, *(percent(measured.retrieval[f"{side}_{at}"]) for at in (1, 5, 10))) for name, side in sides]
        console.table(("retrieval", "R@1", "R@5", "R@10"), rows)

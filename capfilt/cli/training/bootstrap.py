"""`capfilt bootstrap`: BLIP's bootstrapping loop."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from capfilt.cli.terminal.errors import resumable
from capfilt.cli.terminal.options import settings_option
from capfilt.core.formatting import percent
from capfilt.core.serialization import setting

if TYPE_CHECKING:
    from capfilt.bootstrap.summary import RoundSummary


def bootstrap(
    context: typer.Context,
    recipe: Annotated[
        str, typer.Argument(metavar="RECIPE", help="small, blip (the settings of the paper) or a TOML file.")
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for all results.", show_default=False)],
    rounds: Annotated[int, typer.Option(min=1, metavar="N", help="Bootstrapping rounds.")] = 1,
    web: Annotated[
        list[str] | None,
        typer.Option(
            metavar="INPUT",
            help="Noisy pairs: an INPUT of `capfilt run`. Repeatable. Default: the recipe's.",
            show_default=False,
        ),
    ] = None,
    human: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="Human-written pairs: DATA of `capfilt train`. Repeatable. Default: the recipe's.",
            show_default=False,
        ),
    ] = None,
    validation: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="Held-out human-written pairs that decide when to stop and which round is best. Repeatable. "
            "Default: the recipe's, or those of --test.",
            show_default=False,
        ),
    ] = None,
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DATA",
            help="Held-out human-written pairs to report. Repeatable. Default: the recipe's.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[list[str] | None, settings_option("Change a setting, e.g. stop.fall=0.05")] = None,
) -> None:
    """Bootstrapping rounds: fine-tune, clean the data, pretrain.

    Each round fine-tunes a captioner and a filter, cleans the web pairs with them and pretrains a new model on the
    result. Re-run to resume; only steps whose inputs changed are repeated.
    """

    from capfilt.bootstrap.bootstrap import bootstrap as run_rounds
    from capfilt.bootstrap.config import load_bootstrap
    from capfilt.cli.terminal import console

    given = {"data.web": web, "data.human": human, "data.validation": validation, "data.test": test}
    # ensure_ascii=False: TOML reads it, which refuses JSON's two escapes for one character (an emoji).
    data = [setting(key, value) for key, value in given.items() if value]
    loop = load_bootstrap(recipe, (*(settings or ()), *data))
    with resumable():
        result = run_rounds(
            loop, out, rounds, partial(_run_command, context.find_root().command), console.say, lambda _: None
        )
    _report(result.rounds)
    console.say()
    if result.stopped:
        console.say(f"stopped after round {result.rounds[-1].round}: {result.stopped}")
    console.say(f"best: {out / f'round-{result.best.round}' / 'med'} (round {result.best.round})")
    if not loop.data.validation:
        console.say("note: chosen by the test pairs, so their scores are too good; give --validation")


def _run_command(root: Any, command: tuple[str, ...]) -> int:
    """Run a capfilt command in this process; returns its exit code.

    Args:
        root: the application that this command belongs to; importing it here would close a circle.
    """
    return int(root.main(args=list(command), prog_name="capfilt", standalone_mode=False) or 0)


def _report(rounds: "list[RoundSummary]") -> None:
    from capfilt.cli.terminal import console

    sources = ("web", "synthetic")
    console.table(
        ("round", "noise web", "noise synthetic", "kept web", "kept synthetic"),
        [(r.round, *(percent(r.noise.get(s)) for s in sources), *(r.texts.get(s) for s in sources)) for r in rounds],
    )
    console.table(
        ("round", "TR@1", "IR@1", "BLEU-4", "CIDEr", "AUC", "distinct-2", "vocabulary"),
        [
            (
                r.round,
                *(percent(share) for share in (r.tr_1, r.ir_1)),
                f"{r.bleu_4:.3f}",
                f"{r.cider:.2f}",
                r.auc,
                *(percent(share) for share in (r.distinct, r.vocabulary)),
            )
            for r in rounds
        ],
    )
    console.say("noise: share of texts the filter dropped. distinct-2, vocabulary: diversity of")
    console.say("captions sampled for held-out images, relative to human captions")

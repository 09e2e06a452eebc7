"""`capfilt select`: re-apply a policy to stored scores, and show what changes."""

from typing import TYPE_CHECKING, Annotated

import typer

from capfilt.cli.terminal.errors import resumable
from capfilt.cli.terminal.options import Run, settings_option
from capfilt.core.formatting import percent
from capfilt.pipelines.selection.policies import policy_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from capfilt.pipelines.selection.diff import ChangedText, Diff
    from capfilt.pipelines.selection.select import Selection

SHOWN = 160
"""Characters of an example's text."""

JUDGES = 4
"""Scores of an example: more do not fit 80 columns."""


_SET = (
    "Change a setting, e.g. select.threshold=0.6 or select.policy=NAME|FILE.sql"
    f" (policies: {', '.join(policy_names())})"
)


def select(
    out: Run,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE.toml",
            help="Recipe whose [select] section is used. Default: that of the selection --name if it exists, else "
            "the run's.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[list[str] | None, settings_option(_SET)] = None,
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Save the selection under this name. Default: none.", show_default=False)
    ] = "",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would change, write nothing. Default: write.", show_default=False),
    ] = False,
) -> None:
    """Re-apply the selection policy to stored scores (no models).

    Prints what changes: texts and images by source, the filter's own estimate of the share of wrong texts, and five
    examples each way. corpus/ holds the latest selection; `capfilt select OUT --name NAME` restores a named one.
    """
    from contextlib import nullcontext

    from capfilt.ledger.ledger import Ledger
    from capfilt.pipelines.selection.diff import Diff
    from capfilt.pipelines.selection.select import select as decide
    from capfilt.pipelines.selection.select import settings_for

    ledger, diff = Ledger.at(out), Diff()
    chosen = settings_for(ledger, recipe, settings or (), name)
    images = ledger.selection().get("images", ledger.run["recipe"]["output"]["images"])
    with resumable(), nullcontext() if dry_run else ledger.lock():
        selection = decide(ledger.folder, chosen, images, name=name, dry_run=dry_run, diff=diff)
    _show(diff, selection)
    for title, examples in (("gained", diff.gained), ("lost", diff.lost)):
        _show_examples(title, [example for _, example in examples])
    _end(out, selection, dry_run)


def _show(diff: "Diff", selection: "Selection") -> None:
    from capfilt.cli.terminal import console
    from capfilt.pipelines.selection.diff import ANY, moves

    if not diff.texts:
        console.say("no change: this is the current selection")
        sources = sorted(selection.kept.keys() | selection.dropped.keys())
        rows = [(one, selection.kept.get(one, 0), selection.dropped.get(one, 0)) for one in sources]
        console.table(("texts", "kept", "dropped"), rows)
        return
    sources = [*diff.sources, ANY]
    for title, cells in (("texts kept", diff.texts), ("images with", diff.images)):
        counts = [(source, moves(cells, source)) for source in sources]
        lines = [(source, all_.before, all_.gained, all_.lost, all_.after) for source, all_ in counts]
        console.table((title, "before", "gained", "lost", "after"), lines)
    _show_doubt([(source, diff.expected_wrong(source, False), diff.expected_wrong(source)) for source in sources])


def _show_doubt(shares: "Sequence[tuple[str, float | None, float | None]]") -> None:
    from capfilt.cli.terminal import console

    if any(share is not None for _, *pair in shares for share in pair):
        rows = [(source, percent(before), percent(after)) for source, before, after in shares]
        console.table(("wrong, by itm", "before", "after"), rows)
        console.say()
        console.say("wrong, by itm: the mean of 1 - itm over kept texts: the share of wrong texts if")
        console.say("itm is a calibrated probability. An estimate by the filter, not a measurement")


def _show_examples(title: str, examples: "Sequence[ChangedText]") -> None:
    from capfilt.cli.terminal import console

    judges = list(examples[0].scores)[:JUDGES] if examples else []
    rows = [
        (example.source, *(_score(example.scores[judge]) for judge in judges), example.reason, _cut(example.text))
        for example in examples
    ]
    if rows:
        console.table((title, *judges, "why", "text"), rows)


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.3f}"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _end(out: str, selection: "Selection", dry_run: bool) -> None:
    from capfilt.cli.terminal import console

    console.say()
    if dry_run:
        console.say(f"dry run: nothing written; corpus/ would hold {selection.images} images")
    else:
        console.say(f"corpus: {out.rstrip('/')}/corpus/*.parquet ({selection.images} images)")

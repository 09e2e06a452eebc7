"""`capfilt demo`: the whole pipeline on generated data, in under three minutes and without a network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from capfilt.cli.runs.run import say_what_was_done, say_where
from capfilt.cli.terminal.errors import resumable
from capfilt.core.formatting import percent

if TYPE_CHECKING:
    from capfilt.demo.runner import DemoResult
    from capfilt.demo.summary import DemoSummary, TextCounts

QUERY = "SELECT keep, itm, text FROM captions NATURAL JOIN decisions LIMIT 9"


def demo(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the run.")] = Path("demo-out"),
    images: Annotated[int, typer.Option(metavar="N", min=1, help="Images on the demo's web site.")] = 600,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Seed of images, texts and failures.")] = 0,
) -> None:
    """Clean a small generated web site, and measure the result.

    The site runs on this machine and serves drawn images, so it is known which texts are wrong: about half of them.
    Some pages fail, as on the web. Re-run to resume; a finished demo is a no-op.
    """
    with resumable():
        from capfilt.cli.terminal import console
        from capfilt.demo.runner import demo as make_demo

        with console.progress() as listener:
            result = make_demo(out, images, seed, listener=listener)
    report(out, result)


def report(out: Path, result: "DemoResult") -> None:
    """What the demo came to, in two tables and three lines."""
    say_what_was_done(result.outcome)
    _show(result.summary)
    say_where(str(out), result.summary.corpus, QUERY)


def _show(summary: "DemoSummary") -> None:
    from capfilt.cli.terminal import console

    failures = [(f"  {reason}", count) for reason, count in summary.failures.items()]
    counts = [("rows in", summary.rows), ("images", summary.images), ("failures", sum(summary.failures.values()))]
    console.table(("", "rows"), [*counts, *failures])
    texts = zip(_LABELS, _column(summary.web), _column(summary.synthetic), strict=True)
    console.table(("texts", "web", "synthetic"), list(texts))
    before, after = percent(summary.wrong_before), percent(summary.wrong_after)
    console.say()
    console.say(f"wrong texts: {before} of the web's, {after} of all that were kept")


_LABELS = ("all", "kept", "dropped", "wrong among all", "wrong among kept", "kept of the right ones")


def _column(texts: "TextCounts") -> tuple[str, ...]:
    shares = (texts.wrong_share, texts.kept_wrong_share, texts.right_kept_share)
    return (str(texts.total), str(texts.kept), str(texts.dropped), *map(percent, shares))

"""The command line: each command is a function with its help in a file below, and one line here.

Exit codes: 0 = success; 1 = the run failed, is incomplete or not balanced; 2 = a user error, told in one line;
130 = interrupted, 143 = terminated. Commands import what they need when they are called, so `capfilt --help` loads
neither torch nor ray.
"""

from typing import Annotated

import typer

from capfilt.cli.corpus import browse, calibrate, dedup, export, forget, query, report, select
from capfilt.cli.runs import annotate, check, demo, jobs, retry, run, status, verify
from capfilt.cli.terminal.errors import CommandGroup
from capfilt.cli.training import bootstrap, convert, evaluate, models, train
from capfilt.core.version import __version__

app = typer.Typer(
    name="capfilt",
    cls=CommandGroup,
    rich_markup_mode=None,  # plain help: it fits 80 columns, and brackets in it are brackets
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"capfilt {__version__}")
        raise typer.Exit()


@app.callback()
def capfilt(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Turn noisy image-text pairs into a clean corpus: caption, score, select.

    Start with `capfilt demo`.
    """


app.command()(demo.demo)
app.command()(check.check)
app.command()(run.run)
app.command()(retry.retry)
app.command()(annotate.annotate)
app.command()(jobs.submit)
app.command()(jobs.jobs)
app.command()(jobs.stop)
app.command()(select.select)
app.command()(status.status)
app.command()(verify.verify)
app.command()(query.query)
app.command()(browse.browse)
app.command()(dedup.dedup)
app.command(cls=export.ExportCommand)(export.export)
app.command()(forget.forget)
app.command()(calibrate.calibrate)
app.command()(report.report)
app.command()(status.recipes)
app.command()(models.models)
app.command()(convert.convert)
app.command()(models.caption)
app.command()(models.score)
app.command()(models.ask)
app.command()(train.train)
app.command()(evaluate.evaluate)
app.command()(bootstrap.bootstrap)
app.command()(train.world)

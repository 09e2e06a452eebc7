"""`capfilt query`: SQL over the tables of a run."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from capfilt.cli.terminal.options import Run

if TYPE_CHECKING:
    from pyarrow import Table


Format = Literal["table", "csv", "json", "parquet"]


def query(
    out: Run,
    sql: Annotated[
        str,
        typer.Argument(
            metavar="SQL",
            help="DuckDB SQL. Views: images, captions, failures, decisions, corpus, selections, commits, "
            "duplicates, duplicate_captions.",
            show_default=False,
        ),
    ],
    kind: Annotated[
        Format, typer.Option("--format", help="Output format. table: the first 1000 rows, cut to the terminal's width.")
    ] = "table",
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write to this file. Default: standard output.", show_default=False),
    ] = None,
) -> None:
    """Query the tables of a run with SQL."""
    from capfilt.cli.terminal.query_formats import SHOWN_ROWS
    from capfilt.core.errors import ConfigError
    from capfilt.core.storage import Folder
    from capfilt.pipelines.query import run_query

    if kind == "parquet" and output is None and sys.stdout.isatty():
        raise ConfigError("--format parquet: cannot be shown on a terminal; use --output FILE or a pipe")
    limit = SHOWN_ROWS + 1 if kind == "table" else None
    _write(_encoded(run_query(Folder.at(out), sql, limit), kind), output)


def _encoded(answer: "Table", kind: Format) -> bytes:
    from capfilt.cli.terminal.query_formats import format_table
    from capfilt.core.serialization import parquet_bytes

    return parquet_bytes(answer) if kind == "parquet" else format_table(answer, kind).encode()


def _write(data: bytes, output: Path | None) -> None:
    from capfilt.core.errors import ConfigError

    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise ConfigError(f"--output {output}: {error.strerror}") from error

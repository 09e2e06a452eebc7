"""The command line in this process."""

from pathlib import Path

from typer.testing import CliRunner, Result

from capfilt.cli import app


def invoke(*arguments: str | Path, said: str | None = None) -> Result:
    """What `capfilt ARGUMENTS` prints, its exit code and its exception; `said` is what a person types meanwhile."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=said)

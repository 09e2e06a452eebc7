"""`capfilt export`: the kept pairs, in a form that others read."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from capfilt.cli.terminal.errors import resumable
from capfilt.cli.terminal.options import Run

if TYPE_CHECKING:
    from capfilt.pipelines.export.formats import ExportFormat


class ExportCommand(TyperCommand):
    """Lists what the registries hold at the end of the help: to import them for every command would slow each start."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the names of formats and instruction forms."""
        from capfilt.pipelines.export.export import FORMATS
        from capfilt.pipelines.export.instruct import FORMS

        formatter.write_paragraph()
        formatter.write_text(f"Formats: {', '.join(FORMATS)}.")
        formatter.write_text(f"Forms of --instruct: {', '.join(FORMS)}.")


def export(
    out: Run,
    to: Annotated[
        str, typer.Option(metavar="DEST", help="Empty folder or bucket URL to write to.", show_default=False)
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="File layout; the names are listed below.",
        ),
    ] = "parquet",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="A selection with a name. Default: the current one.", show_default=False)
    ] = "",
    shard_rows: Annotated[int, typer.Option(metavar="N", min=1, help="Images a shard has at most.")] = 10_000,
    instruct: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORM",
            help="Format llava: add instruction data of this form. Repeatable. Default: none.",
            show_default=False,
        ),
    ] = None,
    endpoint: Annotated[
        str,
        typer.Option(
            metavar="URL", help="OpenAI-compatible server that writes them. Default: none.", show_default=False
        ),
    ] = "",
    model: Annotated[
        str, typer.Option(metavar="NAME", help="Its model. Default: the only one it serves.", show_default=False)
    ] = "",
    key_env: Annotated[
        str,
        typer.Option(metavar="VARIABLE", help="Environment variable with its key. Default: none.", show_default=False),
    ] = "",
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, help="Questions to it at once.")] = 16,
) -> None:
    """Write the kept pairs in a form that others read.

    A dataset card and Croissant metadata go with them.

    The same command again does nothing, or goes on where it was interrupted.
    """
    from capfilt.cli.terminal import console
    from capfilt.core.storage import Folder
    from capfilt.pipelines.export.export import export as write

    forms = sorted(set(instruct or ()))
    form = _form(kind, forms, endpoint, model, key_env, concurrency)
    settings = {"instruct": forms, "endpoint": endpoint, "model": model} if forms else {}

    def told(done: int, shards: int) -> None:
        console.say(f"shard {done} of {shards}")

    with resumable():
        done = write(
            Folder.at(out), to, kind, form, selection=name, settings=settings, shard_rows=shard_rows, on_shard=told
        )
    if not done.fresh:
        console.say("nothing to do: this export is there already")
    console.say(f"{to}: {done.images} images, {done.texts} texts, {done.shards} shards")
    console.say("how to read it: README.md there")


def _form(kind: str, forms: list[str], endpoint: str, model: str, key_env: str, concurrency: int) -> "ExportFormat":
    from capfilt.core.errors import ConfigError
    from capfilt.pipelines.export.export import FORMATS
    from capfilt.pipelines.export.instruct import FORMS, Writer
    from capfilt.pipelines.export.llava import LlavaFormat

    _check("--format", (kind,), FORMATS)
    _check("--instruct", forms, FORMS)
    if not forms:
        return FORMATS[kind]()
    if kind != "llava" or not endpoint:
        raise ConfigError("--instruct: needs --format llava, and --endpoint with the server that writes")
    return LlavaFormat(
        forms=[form for form in FORMS if form in forms], writer=Writer.at(endpoint, model, key_env, concurrency)
    )


def _check(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    from capfilt.core.errors import ConfigError

    for name in names:
        if name not in known:
            raise ConfigError(f"{option} {name}: is not known; known: {', '.join(known)}")

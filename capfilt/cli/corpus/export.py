"""`capfilt export`: write the kept pairs in the format of another tool."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from capfilt.cli.terminal.errors import resumable
from capfilt.cli.terminal.options import Run

if TYPE_CHECKING:
    from capfilt.pipelines.export.formats import ExportFormat


class ExportCommand(TyperCommand):
    """Lists the registered formats at the end of the help; importing them for every command would slow each start."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the names of formats and instruction forms."""
        from capfilt.pipelines.export.export import format_names
        from capfilt.pipelines.export.instruct.prompts import FORMS

        formatter.write_paragraph()
        formatter.write_text(f"Formats: {', '.join(format_names())}.")
        formatter.write_text(f"Kinds of --instruct: {', '.join(FORMS)}.")


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
            help="File format; listed at the end.",
        ),
    ] = "parquet",
    name: Annotated[
        str,
        typer.Option(metavar="NAME", help="Export this named selection. Default: the current one.", show_default=False),
    ] = "",
    shard_rows: Annotated[int, typer.Option(metavar="N", min=1, help="Maximum images per shard.")] = 10_000,
    instruct: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORM",
            help="Format llava: add instruction data of this kind. Repeatable. Default: none.",
            show_default=False,
        ),
    ] = None,
    endpoint: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="OpenAI-compatible server that generates the instruction data. Default: none.",
            show_default=False,
        ),
    ] = "",
    model: Annotated[
        str,
        typer.Option(metavar="NAME", help="Model on that server. Default: the only one it serves.", show_default=False),
    ] = "",
    key_env: Annotated[
        str,
        typer.Option(
            metavar="VARIABLE", help="Environment variable that holds the API key. Default: none.", show_default=False
        ),
    ] = "",
    concurrency: Annotated[int, typer.Option(metavar="N", min=1, help="Concurrent requests to the server.")] = 16,
) -> None:
    """Write the kept pairs in the format of another tool.

    A dataset card (README.md) and Croissant metadata are written too.

    Re-running is a no-op; after an interruption it resumes.
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
        console.say("nothing to do: this export is already complete")
    console.say(f"{to}: {done.images} images, {done.texts} texts, {done.shards} shards")
    console.say("how to read it: see its README.md")


def _form(kind: str, forms: list[str], endpoint: str, model: str, key_env: str, concurrency: int) -> "ExportFormat":
    from capfilt.core.errors import ConfigError
    from capfilt.pipelines.export.export import format_named, format_names
    from capfilt.pipelines.export.instruct.prompts import FORMS
    from capfilt.pipelines.export.instruct.writer import Writer
    from capfilt.pipelines.export.llava import LlavaFormat

    _check("--format", [kind], format_names())
    _check("--instruct", forms, FORMS)
    if not forms:
        return format_named(kind)
    if kind != "llava" or not endpoint:
        raise ConfigError("--instruct: requires --format llava and --endpoint")
    return LlavaFormat(
        forms=[form for form in FORMS if form in forms], writer=Writer.at(endpoint, model, key_env, concurrency)
    )


def _check(option: str, names: Iterable[str], known: Iterable[str]) -> None:
    from capfilt.core.errors import ConfigError

    for name in names:
        if name not in known:
            raise ConfigError(f"{option} {name}: unknown; known: {', '.join(known)}")

"""`capfilt export`: the kept pairs, in a form that others read."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from capfilt.cli.errors import resumable
from capfilt.cli.options import Run

if TYPE_CHECKING:
    from capfilt.pipelines.export.formats import ExportFormat

Kind = Literal["parquet", "webdataset", "hf", "llava", "open_clip"]


class Form(StrEnum):
    """An instruction form."""

    CONVERSATION = "conversation"
    DETAIL = "detail"
    REASONING = "reasoning"


def export(
    out: Run,
    to: Annotated[
        str, typer.Option(metavar="DEST", help="Empty folder or bucket URL to write to.", show_default=False)
    ],
    kind: Annotated[
        Kind, typer.Option("--format", help="hf = imagefolder; open_clip = webdataset for its trainer.")
    ] = "parquet",
    name: Annotated[
        str, typer.Option(metavar="NAME", help="A selection with a name. Default: the current one.", show_default=False)
    ] = "",
    shard_rows: Annotated[int, typer.Option(metavar="N", min=1, help="Images a shard has at most.")] = 10_000,
    instruct: Annotated[
        list[Form] | None,
        typer.Option(
            metavar="FORM",
            help="llava: also conversation, detail or reasoning; may be given again. Default: none.",
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
    from capfilt.cli import console
    from capfilt.core.storage import Folder
    from capfilt.pipelines.export.export import export as write

    forms = sorted({form.value for form in instruct or ()})
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


def _form(kind: Kind, forms: list[str], endpoint: str, model: str, key_env: str, concurrency: int) -> "ExportFormat":
    from capfilt.core.errors import ConfigError
    from capfilt.pipelines.export.export import FORMATS
    from capfilt.pipelines.export.instruct import FORMS, Writer
    from capfilt.pipelines.export.llava import LlavaFormat

    if not forms:
        return FORMATS[kind]()
    if kind != "llava" or not endpoint:
        raise ConfigError("--instruct: needs --format llava, and --endpoint with the server that writes")
    return LlavaFormat(
        forms=[form for form in FORMS if form in forms], writer=Writer.at(endpoint, model, key_env, concurrency)
    )

"""`capfilt forget`: delete rows from a run permanently."""

from typing import TYPE_CHECKING, Annotated

import typer

from capfilt.cli.terminal.options import Run

if TYPE_CHECKING:
    from capfilt.pipelines.forget.forget import Forgotten

Names = list[str] | None


def forget(
    out: Run,
    url: Annotated[
        Names,
        typer.Option(
            metavar="URL", help="Delete the row with this URL. Repeatable. Default: none.", show_default=False
        ),
    ] = None,
    domain: Annotated[
        Names,
        typer.Option(
            metavar="HOST", help="Delete all rows of this host and its subdomains. Repeatable. Default: none."
        ),
    ] = None,
    sha256: Annotated[
        Names,
        typer.Option(metavar="HEX", help="Delete all rows whose image has this SHA-256. Repeatable. Default: none."),
    ] = None,
    uid: Annotated[
        Names, typer.Option(metavar="HEX", help="Delete the row with this uid. Repeatable. Default: none.")
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Show what would be deleted, delete nothing. Default: delete.", show_default=False
        ),
    ] = False,
) -> None:
    """Delete rows from every file of a run, permanently.

    Later sessions and retries of the run do not fetch them again. After an interruption, re-run to resume; deleted rows
    cannot be restored.
    """
    from capfilt.core.storage import Folder
    from capfilt.pipelines.forget.forget import forget as take_out

    kinds = (("url", url), ("domain", domain), ("sha256", sha256), ("uid", uid))
    names = [(kind, value) for kind, values in kinds for value in values or ()]
    _report(out, take_out(Folder.at(out), names, dry_run), named=bool(names), dry_run=dry_run)


def _report(out: str, found: "Forgotten", *, named: bool, dry_run: bool) -> None:
    from capfilt.cli.terminal import console

    if found.finished:
        console.say("completed an earlier, interrupted forget")
    if not named:
        return
    texts = [(f"  {source} texts", count) for source, count in found.texts.items()]
    would = "would be forgotten" if dry_run else "forgotten"
    console.table((would, "rows"), [("images", found.images), *texts, ("failures", found.failures)])
    if found.images + found.failures:
        _report_users(found)
    console.say()
    for line in _notes(out, found):
        console.say(line)


def _report_users(found: "Forgotten") -> None:
    from capfilt.cli.terminal import console

    users = [(one.name, one.images, one.texts) for one in found.used_by]
    if users:
        console.table(("used by", "images", "texts"), users)


def _notes(out: str, found: "Forgotten") -> list[str]:
    notes = []
    if not found.images + found.failures:
        return ["no row matches; later sessions skip these names all the same"]
    if not found.used_by:
        notes.append("used by: no selection, no export")
    notes.append("checkpoints: unknown; a training does not record which run it reads")
    notes += [f"not changed: {name}, the input of {_rows(count)}" for name, count in found.inputs.items()]
    notes += [f"not changed: {out.rstrip('/')}/{name}, which names some of them" for name in found.named_in]
    notes += [f"--sha256 {digest} would delete {_rows(n)} more: same bytes" for digest, n in found.same_bytes.items()]
    return notes


def _rows(count: int) -> str:
    return f"{count} row" if count == 1 else f"{count} rows"
